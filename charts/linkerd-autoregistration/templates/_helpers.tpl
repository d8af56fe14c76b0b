{{/* Names are fixed: two of these in a cluster would both answer for every ExternalGroup. */}}
{{- define "autoregistration.name" -}}linkerd-autoregistration{{- end }}

{{- define "autoregistration.selector" -}}
app.kubernetes.io/name: {{ include "autoregistration.name" . }}
{{- end }}

{{- define "autoregistration.labels" -}}
{{ include "autoregistration.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: linkerd-proxy-harness
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "autoregistration.metadata" -}}
name: {{ include "autoregistration.name" . }}
namespace: {{ .Release.Namespace }}
labels: {{- include "autoregistration.labels" . | nindent 2 }}
{{- end }}

{{- define "autoregistration.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "autoregistration.ipBlocks" -}}
{{- range . }}
- ipBlock: { cidr: {{ . | quote }} }
{{- end }}
{{- end }}

{{- define "autoregistration.networks" -}}
{{- range . }}
- cidr: {{ . | quote }}
{{- end }}
{{- end }}
