{{/* The operator's settings, all of them. */}}
{{- define "autodidact.env" -}}
- name: AUTODIDACT_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: AUTODIDACT_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: AUTODIDACT_POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: AUTODIDACT_WATCH_NAMESPACES
  value: {{ join "," .Values.watch.namespaces | quote }}
- name: AUTODIDACT_STORE
  value: {{ printf "s3://%s" .Values.store.bucket | quote }}
{{- if .Values.store.credentialsSecret }}
- name: AUTODIDACT_STORE_CREDENTIALS
  value: /var/run/secrets/autodidact/store
{{- end }}
{{- with include "autodidact.storeEndpoint" . }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
- name: AWS_REGION
  value: {{ .Values.store.region | quote }}
- name: AUTODIDACT_WORKER_STORE_SECRET
  value: {{ .Values.store.workerSecret | quote }}
{{- with .Values.store.sts }}
{{- if .enabled }}
- name: AUTODIDACT_STS_ENABLED
  value: "true"
- name: AUTODIDACT_STS_ROLE_ARN
  value: {{ .roleArn | quote }}
- name: AUTODIDACT_STS_DURATION_SECONDS
  value: {{ .durationSeconds | int | quote }}
- name: AUTODIDACT_STS_RENEW_SECONDS
  value: {{ .renewSeconds | int | quote }}
{{- with .endpoint }}
- name: AWS_ENDPOINT_URL_STS
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
- name: AUTODIDACT_WORKER_ENDPOINT
  value: {{ include "autodidact.workerEndpoint" . | quote }}
- name: AUTODIDACT_WORKER_IMAGE
  value: {{ include "autodidact.image" (list .Values.worker.image .Chart.AppVersion) | quote }}
- name: AUTODIDACT_WORKER_PULL_SECRETS
  value: {{ join "," .Values.worker.imagePullSecrets | quote }}
- name: AUTODIDACT_PROGRESS_URL
  value: {{ include "autodidact.progressUrl" . | quote }}
- name: AUTODIDACT_PROGRESS_AUDIENCE
  value: {{ .Values.progress.audience | quote }}
- name: AUTODIDACT_STATUS_SECONDS
  value: {{ .Values.progress.statusSeconds | quote }}
- name: AUTODIDACT_IMPORT_PREFIXES
  value: {{ include "autodidact.importPrefixes" . | quote }}
- name: AUTODIDACT_PORT
  value: {{ .Values.containerPort | int | quote }}
- name: AUTODIDACT_LEADER_ELECTION
  value: {{ .Values.leaderElection | quote }}
- name: AUTODIDACT_LEASE_NAME
  value: {{ include "autodidact.fullname" . | quote }}
- name: AUTODIDACT_WORKERS
  value: {{ .Values.workers | int | quote }}
- name: AUTODIDACT_RESYNC_SECONDS
  value: {{ .Values.resyncSeconds | int | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
