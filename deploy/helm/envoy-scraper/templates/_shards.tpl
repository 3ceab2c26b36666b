{{- /* The map of shards, as JSON {"shards": [...]}. */}}
{{- define "envoy-scraper.shards" -}}
{{- $shards := .Values.shards }}
{{- if .Values.config }}
{{- $shards = list }}
{{- with (include "envoy-scraper.whole" . | fromJson).envoy_scraper }}{{ $shards = default list .shards }}{{ end }}
{{- if not $shards }}
{{- fail "config: in mode statefulset it needs envoy_scraper.shards, as [{count: 3}], or every pod would scrape everything" }}
{{- end }}
{{- end }}
{{- if not $shards }}
{{- fail "shards: is empty; mode statefulset needs at least one entry, as [{count: 3}]" }}
{{- end }}
{{- $before := -1 }}
{{- range $i, $entry := $shards }}
{{- if lt (int $entry.count) 1 }}
{{- fail (printf "shards[%d].count: %v shards scrape nothing; it must be at least 1" $i $entry.count) }}
{{- end }}
{{- if and (gt $i 0) (not $entry.from) }}
{{- fail (printf "shards[%d].from: is missing; every entry but the first says from when on it holds, as 2026-01-31T12:00:00Z" $i) }}
{{- end }}
{{- if and (eq $i 0) $entry.from }}
{{- fail "shards[0].from: the first entry holds from the start; remove its from" }}
{{- end }}
{{- with $entry.from }}
{{- $at := -1 }}
{{- if regexMatch "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$" (toString .) }}
{{- $at = toDate "2006-01-02T15:04:05Z07:00" . | unixEpoch | int64 }}
{{- end }}
{{- if lt $at 0 }}
{{- fail (printf "shards[%d].from: %v is not an instant as 2026-01-31T12:00:00Z" $i .) }}
{{- end }}
{{- if le $at $before }}
{{- fail (printf "shards[%d].from: %v is not after that of the entry before" $i .) }}
{{- end }}
{{- $before = $at }}
{{- end }}
{{- end }}
{{- dict "shards" $shards | toJson }}
{{- end }}

{{- /* As many pods as the largest entry needs, so that those of either side of a change run. */}}
{{- define "envoy-scraper.replicas" -}}
{{- $most := 1 }}
{{- range (include "envoy-scraper.shards" . | fromJson).shards }}{{ $most = max $most (int .count) }}{{ end }}
{{- $most }}
{{- end }}
