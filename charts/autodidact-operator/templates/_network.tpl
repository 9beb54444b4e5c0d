{{/* Parts of the NetworkPolicies. */}}

{{/* The pods of stages, of all runs. */}}
{{- define "autodidact.stageSelector" -}}
matchExpressions:
  - {key: autodidact.dev/run-uid, operator: Exists}
{{- end }}

{{/* The jobs that import, of every kind of run: those with a Secret of their own are by themselves. */}}
{{- define "autodidact.importSelector" -}}
matchExpressions:
  - {key: autodidact.dev/run-uid, operator: Exists}
  - key: autodidact.dev/job
    operator: In
    values:
      - import
      {{- $seeds := list "model" "instructions" "evaluations" "heldout" "ranked" "questions" }}
      {{- $models := list "writer" "judge" "checkpoint-judge" }}
      {{- range concat $seeds $models (list "train" "validation" "test") }}
      - import-{{ . }}
      {{- end }}
{{- end }}

{{/* Namespaces with a policy for stages, as JSON. */}}
{{- define "autodidact.stageNamespaces" -}}
{{- .Values.networkPolicy.stages.namespaces | default .Values.watch.namespaces | toJson -}}
{{- end }}

{{/* The pods of stages, seen from the release's namespace. */}}
{{- define "autodidact.stagePeers" -}}
- podSelector:
    {{- include "autodidact.stageSelector" . | nindent 4 }}
  namespaceSelector:
    {{- with .Values.watch.namespaces }}
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- toYaml . | nindent 10 }}
    {{- else }} {}
    {{- end }}
{{- end }}

{{/* Names are asked for anywhere: the address of a cache on the node is not a pod's. */}}
{{- define "autodidact.egressToNames" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{- define "autodidact.egressToOperator" -}}
- ports:
    - {protocol: TCP, port: {{ .Values.containerPort }}}
  to:
    - podSelector:
        matchLabels:
          {{- include "autodidact.selectorLabels" . | nindent 10 }}
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Release.Namespace }}
{{- end }}

{{- define "autodidact.egressToStore" -}}
- ports:
    {{- range include "autodidact.storePorts" . | fromJsonArray }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- if .Values.minio.enabled }}
  to:
    - podSelector:
        matchLabels:
          {{- include "autodidact.minioSelector" . | nindent 10 }}
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Release.Namespace }}
  {{- else if .Values.networkPolicy.store.to }}
  to:
    {{- toYaml .Values.networkPolicy.store.to | nindent 4 }}
  {{- end }}
{{- end }}

{{/* An STS that is not the store's own, which the operator alone asks. */}}
{{- define "autodidact.egressToSts" -}}
{{- if and .Values.store.sts.enabled .Values.store.sts.endpoint }}
- ports:
    {{- range include "autodidact.ports" (list .Values.store.sts.endpoint) | fromJsonArray }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- end }}

{{/* The given ports, else those of the endpoints, as JSON. */}}
{{- define "autodidact.storePorts" -}}
{{- with .Values.networkPolicy.store.ports -}}
{{- . | uniq | toJson -}}
{{- else -}}
{{- list (include "autodidact.storeEndpoint" .) (include "autodidact.workerEndpoint" .) | include "autodidact.ports" -}}
{{- end -}}
{{- end }}

{{/* The ports of a list of URLs, as JSON. */}}
{{- define "autodidact.ports" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $url := urlParse . -}}
{{- $default := ternary "80" "443" (eq $url.scheme "http") -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default $default | int) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end }}
