{{- /* Converts a number with a unit into whole MiB. Takes {number, factor}, the factor in bytes. */}}
{{- define "envoy-scraper.inMebibytes" -}}
{{- divf (mulf (float64 .number) (float64 .factor)) 1048576 | floor | int64 }}
{{- end }}

{{- /* The largest size of all queues in MiB. The configuration writes sizes with a B, and K is 1024. The program refuses a
       max_bytes of `config` that is not a size. 1GiB is the program's default of max_bytes (DefaultConfig). */}}
{{- define "envoy-scraper.queueMebibytes" -}}
{{- $each := .Values.queue.maxBytes }}
{{- if .Values.config }}
{{- $block := default dict (include "envoy-scraper.whole" . | fromJson).envoy_scraper }}
{{- $each = default "1GiB" (default dict $block.queue).max_bytes }}
{{- end }}
{{- $each = toString $each }}
{{- $factor := get (dict "" 1 "K" 1024 "M" 1048576 "G" 1073741824 "T" 1099511627776) (regexFind "[KMGT]" $each) }}
{{- $number := regexFind "^[0-9.]+" $each }}
{{- $mebibytes := include "envoy-scraper.inMebibytes" (dict "number" $number "factor" $factor) | int64 }}
{{- mul $mebibytes (max 1 (len (include "envoy-scraper.receivers" . | fromJson).entries)) }}
{{- end }}

{{- /* The size of a volume: the value, or by default one and a half times the largest size of the queues. Takes {root, key,
       size}. Kubernetes writes sizes without a B; k is 1000 and Ki is 1024. */}}
{{- define "envoy-scraper.volumeSize" -}}
{{- $queue := include "envoy-scraper.queueMebibytes" .root | int64 }}
{{- if .size }}
{{- $size := toString .size }}
{{- if not (kindIs "string" .size) }}{{ $size = int64 .size | toString }}{{ end }}
{{- $factor := get (dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) (regexFind "[KkMGT]i?" $size) }}
{{- if lt (include "envoy-scraper.inMebibytes" (dict "number" (regexFind "^[0-9.]+" $size) "factor" $factor) | int64) $queue }}
{{- fail (printf "%s: %s is less than the %d MiB that the queues may need (queue.maxBytes for each entry of remoteWrite); increase it, or reduce queue.maxBytes" .key $size $queue) }}
{{- end }}
{{- $size }}
{{- else }}{{ div (mul $queue 3) 2 }}Mi{{ end }}
{{- end }}
