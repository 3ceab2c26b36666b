{{- /* A size in whole MiB; fails where it is none. Takes {key, size}. Kubernetes' and the configuration's way to write it. */}}
{{- define "envoy-scraper.mebibytes" -}}
{{- $size := toString .size }}
{{- if not (regexMatch "^[0-9]+([KMGT]iB?|[KMGTk]B?)?$" $size) }}
{{- fail (printf "%s: %s is not a size, as 1536Mi or 1GiB" .key $size) }}
{{- end }}
{{- $n := regexFind "^[0-9]+" $size | int64 }}
{{- $unit := regexFind "[KMGTk]" $size }}
{{- if eq $unit "T" }}{{ mul $n 1048576 }}
{{- else if eq $unit "G" }}{{ mul $n 1024 }}
{{- else if eq $unit "M" }}{{ $n }}
{{- else if or (eq $unit "K") (eq $unit "k") }}{{ div $n 1024 }}
{{- else }}{{ div $n 1048576 }}
{{- end }}
{{- end }}

{{- /* How many MiB may wait in all. */}}
{{- define "envoy-scraper.queueMebibytes" -}}
{{- $each := .Values.queue.maxBytes }}
{{- if .Values.config }}
{{- $each = dig "envoy_scraper" "queue" "max_bytes" "1GiB" (include "envoy-scraper.whole" . | fromJson) }}
{{- end }}
{{- mul (include "envoy-scraper.mebibytes" (dict "key" "queue.maxBytes" "size" $each) | int64) (max 1 (len (include "envoy-scraper.receivers" . | fromJson).entries)) }}
{{- end }}

{{- /* A volume's size: what is written, or half as large again as the queue may get. Takes {root, key, size}. */}}
{{- define "envoy-scraper.volumeSize" -}}
{{- $queue := include "envoy-scraper.queueMebibytes" .root | int64 }}
{{- if .size }}
{{- if lt (include "envoy-scraper.mebibytes" . | int64) $queue }}
{{- fail (printf "%s: %s is less than the %d MiB that may wait (queue.maxBytes for each entry of remoteWrite); make it larger, or maxBytes smaller" .key .size $queue) }}
{{- end }}
{{- .size }}
{{- else }}{{ div (mul $queue 3) 2 }}Mi{{ end }}
{{- end }}
