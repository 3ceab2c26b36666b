{{- /* The jobs of a value that is a list or pasted text, which may have a key above its list, as JSON {"jobs": [...]}.
       Takes {key, value}. */}}
{{- define "envoy-scraper.pasted" -}}
{{- $jobs := .value }}
{{- if kindIs "string" .value }}
{{- $jobs = list }}
{{- if trim .value }}
{{- $map := fromYaml .value }}
{{- if hasKey $map "additionalScrapeConfigs" }}
{{- $jobs = $map.additionalScrapeConfigs | default list }}
{{- else if hasKey $map "scrape_configs" }}
{{- $jobs = $map.scrape_configs | default list }}
{{- else }}
{{- $jobs = fromYamlArray .value }}
{{- end }}
{{- end }}
{{- end }}
{{- if not (kindIs "slice" $jobs) }}
{{- fail (printf "%s: is neither a list of jobs nor one under additionalScrapeConfigs or scrape_configs" .key) }}
{{- end }}
{{- range $i, $job := $jobs }}
{{- if not (kindIs "map" $job) }}
{{- fail (printf "%s[%d]: is not a job: %v" $.key $i $job) }}
{{- end }}
{{- if not $job.job_name }}
{{- fail (printf "%s[%d]: the job has no job_name" $.key $i) }}
{{- end }}
{{- end }}
{{- dict "jobs" $jobs | toJson }}
{{- end }}

{{- /* `config` as a map, JSON. */}}
{{- define "envoy-scraper.whole" -}}
{{- $config := .Values.config }}
{{- if kindIs "string" $config }}
{{- $config = fromYaml $config }}
{{- if hasKey $config "Error" }}
{{- fail (printf "config: is not a whole configuration (jobs alone belong in extraJobs): %s" $config.Error) }}
{{- end }}
{{- end }}
{{- toJson $config }}
{{- end }}

{{- /* All jobs but the sidecar job, as JSON {"jobs": [{"key": the value that has it, "job": the job}]}. */}}
{{- define "envoy-scraper.jobs" -}}
{{- $found := list }}
{{- if .Values.config }}
{{- $whole := include "envoy-scraper.whole" . | fromJson }}
{{- range concat (default list $whole.scrape_configs) (default list $whole.additionalScrapeConfigs) }}
{{- $found = append $found (dict "key" "config" "job" .) }}
{{- end }}
{{- else }}
{{- range $key := list "extraJobs" "additionalScrapeConfigs" }}
{{- range (include "envoy-scraper.pasted" (dict "key" $key "value" (default list (index $.Values $key))) | fromJson).jobs }}
{{- $found = append $found (dict "key" $key "job" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $found }}
{{- if not (kindIs "map" .job) }}{{ fail (printf "config: scrape_configs: holds what is not a job: %v" .job) }}{{ end }}
{{- $sd := default list .job.kubernetes_sd_configs }}
{{- $good := kindIs "slice" $sd }}
{{- range $sd }}{{ $good = and $good (kindIs "map" .) }}{{ end }}
{{- if not $good }}{{ fail (printf "job %v: kubernetes_sd_configs: is not a list of maps, as [{role: pod}]" .job.job_name) }}{{ end }}
{{- end }}
{{- dict "jobs" $found | toJson }}
{{- end }}

{{- /* All Kubernetes discoveries that use the pod's own service account, as JSON {"sd": [...]}. Each has job and key too. */}}
{{- define "envoy-scraper.discoveries" -}}
{{- $found := list }}
{{- range (include "envoy-scraper.jobs" . | fromJson).jobs }}
{{- $job := .job }}
{{- range $sd := $job.kubernetes_sd_configs }}
{{- if not (or $sd.api_server $sd.kubeconfig_file) }}
{{- $found = append $found (merge (dict "job" $job.job_name) $sd) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.sidecarJob.enabled (not .Values.config) }}
{{- $sd := dict "job" .Values.sidecarJob.name "role" "pod" }}
{{- with .Values.rights.namespaces }}
{{- $_ := set $sd "namespaces" (dict "names" .) }}
{{- end }}
{{- $found = append $found $sd }}
{{- end }}
{{- dict "sd" $found | toJson }}
{{- end }}

{{- /* What those discoveries need: JSON {"spread": {group: [resources]}, "cluster": [resources of the core group]}.
       "spread" can be given by namespace, "cluster" cannot. */}}
{{- define "envoy-scraper.needs" -}}
{{- $core := list }}{{ $slices := list }}{{ $ingresses := list }}{{ $cluster := list }}
{{- range (include "envoy-scraper.discoveries" . | fromJson).sd }}
{{- $role := .role }}
{{- if eq $role "node" }}{{ $cluster = append $cluster "nodes" }}
{{- else if eq $role "pod" }}{{ $core = append $core "pods" }}
{{- else if eq $role "service" }}{{ $core = append $core "services" }}
{{- else if eq $role "endpoints" }}{{ $core = concat $core (list "endpoints" "pods" "services") }}
{{- else if eq $role "endpointslice" }}{{ $core = concat $core (list "pods" "services") }}{{ $slices = list "endpointslices" }}
{{- else if eq $role "ingress" }}{{ $ingresses = list "ingresses" }}
{{- else }}{{ fail (printf "job %s: kubernetes_sd_configs: role %v: is none of pod, endpoints, endpointslice, service, ingress, node" .job $role) }}
{{- end }}
{{- with .attach_metadata }}
{{- if and .node (has $role (list "pod" "endpoints" "endpointslice")) }}{{ $cluster = append $cluster "nodes" }}{{ end }}
{{- if and .namespace (ne $role "node") }}{{ $cluster = append $cluster "namespaces" }}{{ end }}
{{- end }}
{{- end }}
{{- $spread := dict }}
{{- with $core }}{{ $_ := set $spread "" (. | uniq | sortAlpha) }}{{ end }}
{{- with $slices }}{{ $_ := set $spread "discovery.k8s.io" . }}{{ end }}
{{- with $ingresses }}{{ $_ := set $spread "networking.k8s.io" . }}{{ end }}
{{- dict "spread" $spread "cluster" ($cluster | uniq | sortAlpha) | toJson }}
{{- end }}

{{- /* "true" if a pod needs the token of its service account. */}}
{{- define "envoy-scraper.needsToken" -}}
{{- if or (include "envoy-scraper.discoveries" . | fromJson).sd .Values.rights.extraRules }}true{{ else }}false{{ end }}
{{- end }}

{{- define "envoy-scraper.rules" -}}
{{- range $group, $resources := . }}
- apiGroups: [{{ $group | quote }}]
  resources: [{{ join ", " $resources }}]
  verbs: [get, list, watch]
{{- end }}
{{- end }}
