{{- define "name" -}}pytorchjob-operator{{- end }}

{{- define "labels" -}}
app.kubernetes.io/name: {{ include "name" . }}
app.kubernetes.io/component: controller
app.kubernetes.io/part-of: kubeflow
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Of a list of the root and a user's labels: both, the chart's own first, since selectors rest on them. */}}
{{- define "labels.with" -}}
{{- toYaml (merge (include "labels" (first .) | fromYaml) (last . | default dict)) }}
{{- end }}

{{- define "image" -}}
{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The rules of the first object in a file of config/rbac. */}}
{{- define "rules" -}}
{{- toYaml (.Files.Get .file | splitList "\n---\n" | first | fromYaml).rules }}
{{- end }}
