{{- define "envoy-scraper.name" -}}
{{- regexReplaceAll "[^A-Za-z0-9]+$" (default .Chart.Name .Values.nameOverride | trunc 63) "" }}
{{- end }}

{{- /* A Service's name has no dots. 52 characters leave room for what a StatefulSet appends in labels of its pods. */}}
{{- define "envoy-scraper.fullname" -}}
{{- $name := include "envoy-scraper.name" . }}
{{- $full := printf "%s-%s" .Release.Name $name }}
{{- if .Values.fullnameOverride }}{{ $full = .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}{{ $full = .Release.Name }}
{{- end }}
{{- regexReplaceAll "-+$" ($full | replace "." "-" | trunc 52) "" }}
{{- end }}

{{- /* The name of objects outside the release's namespace, where a release of the same name may have its own. */}}
{{- define "envoy-scraper.spreadName" -}}
{{- $name := include "envoy-scraper.fullname" . }}
{{- if eq $name .Release.Namespace }}{{ $name }}{{ else }}{{ $name }}.{{ .Release.Namespace }}{{ end }}
{{- end }}

{{- define "envoy-scraper.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "envoy-scraper.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "envoy-scraper.selector" -}}
app.kubernetes.io/name: {{ include "envoy-scraper.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end }}

{{- /* The metadata of an object, except its name and namespace. */}}
{{- define "envoy-scraper.metadata" -}}
{{- include "envoy-scraper.metadataOf" (dict "root" .) }}
{{- end }}

{{- /* The same with more labels and annotations. Takes {root, labels, annotations}. */}}
{{- define "envoy-scraper.metadataOf" -}}
{{- $v := .root.Values }}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- $own := dict "helm.sh/chart" $chart "app.kubernetes.io/managed-by" .root.Release.Service -}}
labels:
  {{- include "envoy-scraper.selector" .root | nindent 2 }}
  {{- mergeOverwrite $own (default dict $v.labels) (default dict .labels) | toYaml | nindent 2 }}
{{- with mergeOverwrite (dict) (default dict $v.annotations) (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "envoy-scraper.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- /* emptyDir, hostPath or claim. */}}
{{- define "envoy-scraper.queueKind" -}}
{{- keys (default dict .Values.queue.volume) | first | default "emptyDir" }}
{{- end }}
