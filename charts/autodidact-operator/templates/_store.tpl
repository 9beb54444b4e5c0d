{{/* The S3 endpoint as the operator reaches it; empty means AWS. */}}
{{- define "autodidact.storeEndpoint" -}}
{{- if .Values.minio.enabled -}}
{{- printf "http://%s.%s.svc:9000" (include "autodidact.minioName" .) .Release.Namespace -}}
{{- else -}}
{{- .Values.store.endpoint -}}
{{- end -}}
{{- end }}

{{/* The same as stages reach it. */}}
{{- define "autodidact.workerEndpoint" -}}
{{- .Values.store.workerEndpoint | default (include "autodidact.storeEndpoint" .) -}}
{{- end }}

{{- define "autodidact.minioName" -}}
{{- printf "%s-minio" (include "autodidact.fullname" . | trunc 57 | trimSuffix "-") -}}
{{- end }}

{{- define "autodidact.minioSelector" -}}
app.kubernetes.io/name: minio
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of objects of the release that are not the operator's own: the first pair of
"autodidact.labels" would make its Service select them. Argument: a list of context and name. */}}
{{- define "autodidact.labelsOf" -}}
{{- $labels := include "autodidact.labels" (index . 0) | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/name" (index . 1) -}}
{{- toYaml $labels -}}
{{- end }}
