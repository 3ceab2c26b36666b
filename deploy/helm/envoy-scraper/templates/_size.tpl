{{- /* What a number with a unit is in whole MiB. Takes {number, factor}, the factor in bytes. */}}
{{- define "envoy-scraper.inMebibytes" -}}
{{- divf (mulf (float64 .number) (float64 .factor)) 1048576 | floor | int64 }}
{{- end }}

{{- /* How many MiB may wait in all. The configuration writes sizes with a B, and k as 1024. */}}
{{- define "envoy-scraper.queueMebibytes" -}}
{{- $each := .Values.queue.maxBytes }}
{{- if .Values.config }}
{{- $block := default dict (include "envoy-scraper.whole" . | fromJson).envoy_scraper }}
{{- $each = default "1GiB" (default dict $block.queue).max_bytes }}
{{- end }}
{{- $each = toString $each }}
{{- range $key, $size := dict "maxBytes" $each "maxMemory" (toString .Values.queue.maxMemory) }}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?([KMGT]i?)?B$" $size) }}
{{- fail (printf "queue.%s: %s is not a size, as 1GiB" $key $size) }}
{{- end }}
{{- end }}
{{- $factor := get (dict "" 1 "K" 1024 "M" 1048576 "G" 1073741824 "T" 1099511627776) (regexFind "[KMGT]" $each) }}
{{- $mebibytes := include "envoy-scraper.inMebibytes" (dict "number" (regexFind "^[0-9.]+" $each) "factor" $factor) | int64 }}
{{- mul $mebibytes (max 1 (len (include "envoy-scraper.receivers" . | fromJson).entries)) }}
{{- end }}

{{- /* A volume's size: what is written, or half as large again as the queue may get. Takes {root, key, size}. Kubernetes
       writes sizes without a B, and k is 1000 unless it is Ki. */}}
{{- define "envoy-scraper.volumeSize" -}}
{{- $queue := include "envoy-scraper.queueMebibytes" .root | int64 }}
{{- if .size }}
{{- $size := toString .size }}
{{- if not (kindIs "string" .size) }}{{ $size = int64 .size | toString }}{{ end }}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?([KMGT]i|[kMGT])?$" $size) }}
{{- fail (printf "%s: %s is not a size, as 1536Mi or 2Gi" .key $size) }}
{{- end }}
{{- $factor := get (dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) (regexFind "[KkMGT]i?" $size) }}
{{- if lt (include "envoy-scraper.inMebibytes" (dict "number" (regexFind "^[0-9.]+" $size) "factor" $factor) | int64) $queue }}
{{- fail (printf "%s: %s is less than the %d MiB that may wait (queue.maxBytes for each entry of remoteWrite); make it larger, or maxBytes smaller" .key $size $queue) }}
{{- end }}
{{- $size }}
{{- else }}{{ div (mul $queue 3) 2 }}Mi{{ end }}
{{- end }}
