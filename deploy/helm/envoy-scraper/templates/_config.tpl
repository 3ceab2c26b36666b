{{- /* One entry of remote_write. References to secrets become paths of mounted files. */}}
{{- define "envoy-scraper.endpoint" -}}
{{- $entry := omit . "bearerTokenSecret" "basicAuthSecret" "tlsSecret" }}
{{- $dir := "/run/secrets/envoy-scraper" }}
{{- with .bearerTokenSecret }}
{{- $_ := set $entry "authorization" (dict "credentials_file" (printf "%s/%s/%s" $dir .name (default "token" .key))) }}
{{- end }}
{{- with .basicAuthSecret }}
{{- $_ := set $entry "basic_auth" (dict
  "username_file" (printf "%s/%s/%s" $dir .name (default "username" .usernameKey))
  "password_file" (printf "%s/%s/%s" $dir .name (default "password" .passwordKey))) }}
{{- end }}
{{- with .tlsSecret }}
{{- $tls := deepCopy (default dict $entry.tls_config) }}
{{- with .caKey }}{{ $_ := set $tls "ca_file" (printf "%s/%s/%s" $dir $.tlsSecret.name .) }}{{ end }}
{{- with .certKey }}{{ $_ := set $tls "cert_file" (printf "%s/%s/%s" $dir $.tlsSecret.name .) }}{{ end }}
{{- with .keyKey }}{{ $_ := set $tls "key_file" (printf "%s/%s/%s" $dir $.tlsSecret.name .) }}{{ end }}
{{- $_ := set $entry "tls_config" $tls }}
{{- end }}
{{- toYaml (list $entry) }}
{{- end }}

{{- /* The names of all secrets to mount, as JSON {"names": [...]}. */}}
{{- define "envoy-scraper.secrets" -}}
{{- $names := default list .Values.secretFiles }}
{{- range .Values.remoteWrite }}
{{- range list .bearerTokenSecret .basicAuthSecret .tlsSecret }}
{{- with . }}{{ $names = append $names .name }}{{ end }}
{{- end }}
{{- end }}
{{- dict "names" ($names | uniq) | toJson }}
{{- end }}

{{- /* The entries of remote_write, of the values or of `config`, as JSON {"entries": [...]}. */}}
{{- define "envoy-scraper.receivers" -}}
{{- $entries := .Values.remoteWrite }}
{{- if .Values.config }}
{{- $entries = (include "envoy-scraper.whole" . | fromJson).remote_write }}
{{- end }}
{{- dict "entries" (ternary $entries list (kindIs "slice" $entries)) | toJson }}
{{- end }}

{{- define "envoy-scraper.sidecarJob" -}}
{{- $job := .Values.sidecarJob }}
{{- $options := default dict $job.options }}
- job_name: {{ $job.name | toYaml }}
  {{- if not (hasKey $options "metrics_path") }}
  metrics_path: /stats/prometheus
  {{- end }}
  {{- if and (eq .Values.mode "daemonset") (not (hasKey $options "enable_compression")) }}
  # The sidecars are on the same node: compressing pages would cost more CPU than the transfer saves.
  enable_compression: false
  {{- end }}
  {{- with $options }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  kubernetes_sd_configs:
  - role: pod
    {{- with .Values.rights.namespaces }}
    namespaces:
      names: {{ . | uniq | toJson }}
    {{- end }}
  relabel_configs:
  # Containers and init containers that declare Envoy's port: http-envoy-prom, 15090.
  - source_labels: [__meta_kubernetes_pod_container_port_name]
    action: keep
    regex: '.*-envoy-prom'
  # A finished pod keeps its address, which another pod may have by now.
  - source_labels: [__meta_kubernetes_pod_phase]
    action: drop
    regex: Succeeded|Failed
  - source_labels: [__meta_kubernetes_namespace]
    target_label: namespace
  - source_labels: [__meta_kubernetes_pod_name]
    target_label: pod_name
  {{- with $job.relabelConfigs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $job.metricRelabelConfigs }}
  metric_relabel_configs:
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* A file with pasted text. toYaml quotes it, whatever its first line looks like. */}}
{{- define "envoy-scraper.file" -}}
{{- range $name, $text := . }}{{ dict $name ($text | replace "\r\n" "\n") | toYaml }}{{ end }}
{{- end }}

{{- /* How long a sample may wait: delivery.maxDelay, else that of delivery.preset. Empty: the program's default. */}}
{{- define "envoy-scraper.maxDelay" -}}
{{- $delivery := default dict .Values.delivery }}
{{- default (ternary "30s" "" (eq (default "fresh" $delivery.preset) "economical")) $delivery.maxDelay }}
{{- end }}

{{- /* The entries of envoy_scraper.aggregate, as JSON {"entries": [...]}: that of the preset, and aggregate.extra. What
       tells the sums of one pod of envoy-scraper from those of another is its node or its name. */}}
{{- define "envoy-scraper.aggregates" -}}
{{- $entries := list }}
{{- $values := default dict .Values.aggregate }}
{{- if $values.enabled }}
{{- $job := .Values.sidecarJob }}
{{- $jobs := default (ternary (list $job.name) list (eq true $job.enabled)) $values.jobs }}
{{- $base := dict "jobs" $jobs "as" (dict "instance" (ternary "%{NODE_NAME}" "%{POD_NAME}" (eq .Values.mode "daemonset"))) }}
{{- $preset := default "istio" $values.preset }}
{{- if ne $preset "none" }}
{{- /* what tells pods apart; the last four are labels of pods that a labelmap may copy */}}
{{- $without := list "instance" "pod" "pod_name" "namespace" "pod_template_hash" "controller_revision_hash"
  "statefulset_kubernetes_io_pod_name" "apps_kubernetes_io_pod_index" }}
{{- if eq $preset "istio-lean" }}
{{- /* neither Istio's dashboards nor Kiali read these: docs/decisions/0056 */}}
{{- $without = concat $without (list "source_app" "source_version" "destination_app" "destination_version") }}
{{- end }}
{{- $options := default dict $values.options }}
{{- $labels := ternary dict (dict "without" $without) (hasKey $options "by") }}
{{- $entries = append $entries (merge (deepCopy $options) $base (dict "match" "istio_.*") $labels) }}
{{- end }}
{{- range $values.extra }}
{{- $entries = append $entries (merge (deepCopy .) $base) }}
{{- end }}
{{- end }}
{{- dict "entries" $entries | toJson }}
{{- end }}

{{- define "envoy-scraper.config" -}}
{{- with .Values.globalConfig }}
global:
  {{- toYaml . | nindent 2 }}
{{ end }}
# A Prometheus with --web.enable-remote-write-receiver, or another receiver of remote write.
remote_write:
{{- range .Values.remoteWrite }}
{{ include "envoy-scraper.endpoint" . }}
{{- end }}

envoy_scraper:
  {{- with include "envoy-scraper.maxDelay" . }}
  # A request holds all scrapes of a target in this time: cheaper for the receiver, and as much later.
  max_delay: {{ toYaml . }}
  {{- end }}
  queue:
    max_bytes: {{ .Values.queue.maxBytes | toYaml }}
    max_memory: {{ .Values.queue.maxMemory | toYaml }}
    max_age: {{ .Values.queue.maxAge | toYaml }}
    fsync_interval: {{ .Values.queue.fsyncInterval | toYaml }}
  {{- $own := default list .Values.ownAddressJobs }}
  {{- if .Values.sidecarJob.enabled }}{{ $own = prepend $own .Values.sidecarJob.name }}{{ end }}
  {{- with $own | uniq }}
  # Someone who can create a pod must not make these jobs connect to anything but that pod.
  own_address_jobs: {{ toJson . }}
  {{- end }}
  {{- if eq .Values.mode "statefulset" }}
  # The number of pods that share the targets, over time. Every pod must know a change some minutes in advance.
  shards: {{- toYaml .Values.shards | nindent 2 }}
  {{- end }}
  {{- with .Values.clusterWideJobs }}
  cluster_wide_jobs: {{ . | uniq | toJson }}
  {{- end }}
  {{- with .Values.jobSettings }}
  # Settings of jobs that Prometheus does not have.
  jobs: {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with (include "envoy-scraper.aggregates" . | fromJson).entries }}
  # Series of these names have no series per pod: their sum is sent.
  aggregate: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $files := list }}
{{- if and .Values.extraJobs (kindIs "string" .Values.extraJobs) }}{{ $files = append $files "extra-jobs.yml" }}{{ end }}
{{- if and .Values.additionalScrapeConfigs (kindIs "string" .Values.additionalScrapeConfigs) }}{{ $files = append $files "additional-scrape-configs.yml" }}{{ end }}
{{- with $files }}

scrape_config_files: {{ toJson . }}
{{- end }}
{{- $lists := or .Values.sidecarJob.enabled (and (kindIs "slice" .Values.extraJobs) .Values.extraJobs)
  (and (kindIs "slice" .Values.additionalScrapeConfigs) .Values.additionalScrapeConfigs) }}
{{- if $lists }}

scrape_configs:
{{- if .Values.sidecarJob.enabled }}
{{- include "envoy-scraper.sidecarJob" . }}
{{- end }}
{{- range list .Values.extraJobs .Values.additionalScrapeConfigs }}
{{- if and (kindIs "slice" .) . }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
