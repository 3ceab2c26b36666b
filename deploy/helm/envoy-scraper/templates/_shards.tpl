{{- /* The number of pods: that of the largest entry of shards, so that the pods before and after a change exist. The program
       refuses entries that are wrong. */}}
{{- define "envoy-scraper.replicas" -}}
{{- $shards := .Values.shards }}
{{- if .Values.config }}
{{- $shards = (default dict (include "envoy-scraper.whole" . | fromJson).envoy_scraper).shards }}
{{- end }}
{{- $most := 1 }}
{{- range $shards }}{{ $most = max $most (int .count) }}{{ end }}
{{- $most }}
{{- end }}
