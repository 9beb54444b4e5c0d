{{/* The kinds of runs that this operator serves, as plural resource names. */}}
{{- define "autodidact.runKinds" -}}
{{- list "selfrewardruns" "reftruns" | toJson -}}
{{- end }}

{{- define "autodidact.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "autodidact.fullname" -}}
{{- $name := include "autodidact.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Release.Name $name -}}
{{- $name -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Name of cluster-scoped objects: releases of one name may live in several namespaces. */}}
{{- define "autodidact.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "autodidact.fullname" .) }}
{{- end }}

{{- define "autodidact.selectorLabels" -}}
app.kubernetes.io/name: {{ include "autodidact.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "autodidact.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "autodidact.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: autodidact
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "autodidact.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "autodidact.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* An image reference. Argument: a list of the image's values and the default tag. */}}
{{- define "autodidact.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) -}}
{{- end -}}
{{- end }}

{{- define "autodidact.progressUrl" -}}
{{- if .Values.progress.enabled -}}
{{- $service := printf "http://%s.%s.svc:%v/v1/progress" (include "autodidact.fullname" .) .Release.Namespace (.Values.service.port | int) -}}
{{- default $service .Values.progress.url -}}
{{- end -}}
{{- end }}

{{/* The import prefixes as JSON, evaluated by Helm where they hold braces of its own. */}}
{{- define "autodidact.importPrefixes" -}}
{{- $prefixes := list -}}
{{- range .Values.imports.allowedPrefixes -}}
{{- $prefixes = append $prefixes (tpl . $) -}}
{{- end -}}
{{- $prefixes | toJson -}}
{{- end }}

{{/* Rules of what the operator does inside the namespaces that it watches. */}}
{{- define "autodidact.namespacedRules" -}}
{{- $kinds := include "autodidact.runKinds" . | fromJsonArray -}}
- apiGroups: [autodidact.dev]
  resources:
    {{- range $kinds }}
    - {{ . }}
    {{- end }}
  verbs: [list, watch]
- apiGroups: [autodidact.dev]
  resources:
    {{- range $kinds }}
    - {{ . }}/status
    {{- end }}
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create]
{{- if .Values.store.sts.enabled }}
# A Secret for each Job, by server-side apply; none is read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* Rules of what exists once per cluster. */}}
{{- define "autodidact.clusterRules" -}}
- apiGroups: [autodidact.dev]
  resources: [computeprofiles]
  verbs: [list, watch]
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
{{- end }}

{{- define "autodidact.subject" -}}
- kind: ServiceAccount
  name: {{ include "autodidact.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
