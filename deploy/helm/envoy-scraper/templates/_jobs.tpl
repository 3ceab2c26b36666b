{{- /* The jobs of a value that is a list or pasted text, which may have a key above its list, as JSON {"jobs": [...]}.
       The program refuses text that is neither. */}}
{{- define "envoy-scraper.pasted" -}}
{{- $jobs := . }}
{{- if kindIs "string" . }}
{{- $map := fromYaml . }}
{{- $jobs = default (default list $map.scrape_configs) $map.additionalScrapeConfigs }}
{{- if hasKey $map "Error" }}{{ $jobs = fromYamlArray . }}{{ end }}
{{- end }}
{{- dict "jobs" (ternary $jobs list (kindIs "slice" $jobs)) | toJson }}
{{- end }}

{{- /* `config` as a map, JSON. If it is not a map, the program reports it. */}}
{{- define "envoy-scraper.whole" -}}
{{- $config := .Values.config }}
{{- if kindIs "string" $config }}{{ $config = fromYaml $config }}{{ end }}
{{- toJson $config }}
{{- end }}

{{- /* All Kubernetes discoveries that use the pod's own service account, as JSON {"sd": [...]}, each with the name of its
       job. The program reports jobs and discoveries that are not maps. */}}
{{- define "envoy-scraper.discoveries" -}}
{{- $jobs := list }}
{{- if .Values.config }}
{{- $whole := include "envoy-scraper.whole" . | fromJson }}
{{- range list $whole.scrape_configs $whole.additionalScrapeConfigs }}
{{- if kindIs "slice" . }}{{ $jobs = concat $jobs . }}{{ end }}
{{- end }}
{{- else }}
{{- range list .Values.extraJobs .Values.additionalScrapeConfigs }}
{{- $jobs = concat $jobs (include "envoy-scraper.pasted" (default list .) | fromJson).jobs }}
{{- end }}
{{- end }}
{{- $found := list }}
{{- range $job := $jobs }}
{{- if and (kindIs "map" $job) (kindIs "slice" (default dict $job).kubernetes_sd_configs) }}
{{- range $sd := $job.kubernetes_sd_configs }}
{{- if and (kindIs "map" $sd) (not (or (default dict $sd).api_server (default dict $sd).kubeconfig_file)) }}
{{- $found = append $found (merge (dict "job" $job.job_name) $sd) }}
{{- end }}
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

{{- /* The rights that those discoveries need, as JSON {"spread": {group: [resources]}, "cluster": [resources of the core group]}.
       Rights in "spread" can be granted per namespace, rights in "cluster" cannot. */}}
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

{{- /* "true" if the pods need the token of their service account. */}}
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
