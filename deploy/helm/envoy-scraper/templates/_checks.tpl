{{- /* Values that cannot work end here, each with a sentence. */}}
{{- define "envoy-scraper.checks" -}}
{{- $v := .Values }}
{{- if not (has $v.mode (list "daemonset" "statefulset" "deployment")) }}
{{- fail (printf "mode: %v is unknown; it is one of daemonset, statefulset, deployment" $v.mode) }}
{{- end }}
{{- include "envoy-scraper.checkReceivers" . }}
{{- include "envoy-scraper.checkJobs" . }}
{{- include "envoy-scraper.checkQueue" . }}
{{- if eq $v.mode "statefulset" }}{{ $_ := include "envoy-scraper.shards" . }}{{ end }}
{{- if lt (int $v.terminationGracePeriodSeconds) 10 }}
{{- fail (printf "terminationGracePeriodSeconds: %v leaves no time to deliver what is queued; it must be at least 10" $v.terminationGracePeriodSeconds) }}
{{- end }}
{{- $rolling := default dict (default dict $v.updateStrategy).rollingUpdate }}
{{- if and (eq $v.mode "daemonset") (not (has (default 0 $rolling.maxSurge | toString) (list "0" "0%"))) }}
{{- fail "updateStrategy.rollingUpdate.maxSurge: two pods of one node would scrape everything twice; leave it out" }}
{{- end }}
{{- if and $v.updateStrategy (eq $v.mode "deployment") }}
{{- fail "updateStrategy: a deployment has none, for two pods at once would scrape everything twice; leave it out" }}
{{- end }}
{{- include "envoy-scraper.checkNames" . }}
{{- include "envoy-scraper.checkArgs" . }}
{{- include "envoy-scraper.checkEnv" . }}
{{- if and $v.podDisruptionBudget.enabled (eq $v.mode "daemonset") }}
{{- fail "podDisruptionBudget.enabled: does nothing for a daemonset, whose pods no drain evicts; use updateStrategy.rollingUpdate.maxUnavailable" }}
{{- end }}
{{- if and (not $v.serviceAccount.create) $v.rights.create (not $v.serviceAccount.name) (eq (include "envoy-scraper.needsToken" .) "true") }}
{{- fail "serviceAccount.name: is empty and create is false, so the rights would be given to every pod of the namespace; name an account" }}
{{- end }}
{{- end }}

{{- define "envoy-scraper.checkNames" -}}
{{- range $key := list "labels" "podLabels" }}
{{- range $label := list "app.kubernetes.io/name" "app.kubernetes.io/instance" }}
{{- if hasKey (default dict (index $.Values $key)) $label }}
{{- fail (printf "%s: %s is how the chart finds its pods; set nameOverride, or the release's name" $key $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- $name := include "envoy-scraper.fullname" . }}
{{- if and (eq .Values.mode "statefulset") (not (regexMatch "^[a-z]" $name)) }}
{{- fail (printf "fullnameOverride: the Service of a statefulset cannot be called %s; give a name that begins with a letter" $name) }}
{{- end }}
{{- end }}

{{- /* The program takes each flag once. */}}
{{- define "envoy-scraper.checkArgs" -}}
{{- $own := dict }}
{{- range include "envoy-scraper.args" . | fromYamlArray }}{{ $_ := set $own (include "envoy-scraper.flag" .) true }}{{ end }}
{{- $values := dict "log.level" "logLevel" "log.format" "logFormat" "self-scrape" "selfScrape" "storage.remote.flush-deadline" "terminationGracePeriodSeconds" }}
{{- range .Values.extraArgs }}
{{- $flag := include "envoy-scraper.flag" . }}
{{- if hasKey $own $flag }}
{{- fail (printf "extraArgs: %s is given by the chart already; %s" (regexFind "^[^=]*" .) (ternary (printf "use %s" (get $values $flag)) "leave it out" (hasKey $values $flag))) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A variable that is there twice is refused by server-side apply. */}}
{{- define "envoy-scraper.checkEnv" -}}
{{- $seen := dict }}
{{- range include "envoy-scraper.env" . | fromYamlArray }}{{ $_ := set $seen .name true }}{{ end }}
{{- range $name, $_ := .Values.secretEnv }}
{{- if hasKey $seen $name }}{{ fail (printf "secretEnv: %s is set by the chart; choose another name" $name) }}{{ end }}
{{- $_ := set $seen $name true }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if hasKey $seen (toString .name) }}{{ fail (printf "extraEnv: %v is set already, by the chart, by secretEnv or twice; leave one out" .name) }}{{ end }}
{{- $_ := set $seen (toString .name) true }}
{{- end }}
{{- end }}

{{- /* The name of an argument's flag. */}}
{{- define "envoy-scraper.flag" -}}
{{- regexFind "^[^=]*" . | trimPrefix "--" | trimPrefix "no-" }}
{{- end }}

{{- define "envoy-scraper.checkReceivers" -}}
{{- $v := .Values }}
{{- $entries := (include "envoy-scraper.receivers" . | fromJson).entries }}
{{- if and $v.config $v.remoteWrite }}
{{- fail "config: is the whole configuration, so remoteWrite would not be read; move its entries to remote_write of config" }}
{{- end }}
{{- range $key := list "extraJobs" "additionalScrapeConfigs" "clusterWideJobs" "ownAddressJobs" }}
{{- if and $v.config (index $v $key) }}
{{- fail (printf "config: is the whole configuration, so %s would not be read; move what it has into config" $key) }}
{{- end }}
{{- end }}
{{- if not $entries }}
{{- if $v.config }}
{{- fail "config: has no remote_write, so nothing would be sent anywhere" }}
{{- end }}
{{- fail "remoteWrite: is empty, so nothing would be sent anywhere; give a receiver, as remoteWrite[0].url=http://prometheus-server.monitoring.svc:9090/api/v1/write" }}
{{- end }}
{{- $names := dict }}
{{- range $i, $entry := $entries }}
{{- if not $entry.url }}
{{- fail (printf "remoteWrite[%d].url: is missing" $i) }}
{{- end }}
{{- if not (regexMatch "^(?i:https?://|[a-z]*%\\{)" $entry.url) }}
{{- fail (printf "remoteWrite[%d].url: %s is no http or https URL" $i $entry.url) }}
{{- end }}
{{- with $entry.name }}
{{- if hasKey $names (toString .) }}{{ fail (printf "remoteWrite[%d].name: %v is the name of an earlier entry too; rename one of the two" $i .) }}{{ end }}
{{- $_ := set $names (toString .) true }}
{{- end }}
{{- range $key := list "bearerTokenSecret" "basicAuthSecret" "tlsSecret" }}
{{- with index $entry $key }}
{{- if not .name }}{{ fail (printf "remoteWrite[%d].%s.name: is missing; it names a secret of the namespace" $i $key) }}{{ end }}
{{- end }}
{{- end }}
{{- with $entry.tlsSecret }}
{{- if not (or .caKey .certKey .keyKey) }}
{{- fail (printf "remoteWrite[%d].tlsSecret: names none of caKey, certKey, keyKey, so nothing of it would be used" $i) }}
{{- end }}
{{- end }}
{{- $logins := list "bearerTokenSecret" "basicAuthSecret" "authorization" "basic_auth" "oauth2" "bearer_token" "bearer_token_file" "sigv4" "azuread" "google_iam" }}
{{- $given := list }}
{{- range $logins }}{{ if index $entry . }}{{ $given = append $given . }}{{ end }}{{ end }}
{{- if gt (len $given) 1 }}
{{- fail (printf "remoteWrite[%d]: has more than one of %s; keep one" $i (join ", " $logins)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "envoy-scraper.checkJobs" -}}
{{- $v := .Values }}
{{- if not (or $v.config $v.sidecarJob.enabled $v.extraJobs $v.additionalScrapeConfigs) }}
{{- fail "sidecarJob.enabled: is false and there are no extraJobs, so nothing would be scraped" }}
{{- end }}
{{- $options := dict "job_name" "use sidecarJob.name" "relabel_configs" "use sidecarJob.relabelConfigs" "metric_relabel_configs" "use sidecarJob.metricRelabelConfigs"
  "kubernetes_sd_configs" "set sidecarJob.enabled: false and give the job in extraJobs" }}
{{- range $key, $instead := $options }}
{{- if hasKey (default dict $v.sidecarJob.options) $key }}
{{- fail (printf "sidecarJob.options.%s: is made by the chart; %s" $key $instead) }}
{{- end }}
{{- end }}
{{- range $key, $_ := $v.sidecarJob.options }}
{{- if or (eq $key "static_configs") (hasSuffix "_sd_configs" $key) }}
{{- fail (printf "sidecarJob.options.%s: would be a discovery beside the one of pods, whose rules leave out what is no pod; give a job of its own in extraJobs" $key) }}
{{- end }}
{{- end }}
{{- include "envoy-scraper.checkJobNames" . }}
{{- if eq $v.mode "daemonset" }}{{ include "envoy-scraper.checkNodeLocal" . }}{{ end }}
{{- $_ := include "envoy-scraper.needs" . }}
{{- if and $v.rights.create $v.rights.namespaces }}
{{- range $sd := (include "envoy-scraper.discoveries" . | fromJson).sd }}
{{- $names := list }}
{{- with $sd.namespaces }}
{{- $names = default list .names }}
{{- if .own_namespace }}{{ $names = append $names $.Release.Namespace }}{{ end }}
{{- end }}
{{- if and (not $names) (ne $sd.role "node") }}
{{- fail (printf "job %s: looks in all namespaces, but rights.namespaces gives rights in %s only; add namespaces.names to its kubernetes_sd_configs" $sd.job (join ", " $v.rights.namespaces)) }}
{{- end }}
{{- range $names }}
{{- if not (has . $v.rights.namespaces) }}
{{- fail (printf "job %s: looks in namespace %s, which is not among rights.namespaces" $sd.job .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "envoy-scraper.checkJobNames" -}}
{{- $v := .Values }}
{{- $seen := dict }}
{{- if and $v.sidecarJob.enabled (not $v.config) }}{{ $_ := set $seen $v.sidecarJob.name true }}{{ end }}
{{- range (include "envoy-scraper.jobs" . | fromJson).jobs }}
{{- $name := toString .job.job_name }}
{{- if hasKey $seen $name }}
{{- fail (printf "%s: there are two jobs of the name %s; give one of them another name, or leave the chart's own out (sidecarJob.enabled: false)" .key $name) }}
{{- end }}
{{- $_ := set $seen $name true }}
{{- end }}
{{- if not $v.config }}
{{- range $key := list "clusterWideJobs" "ownAddressJobs" }}
{{- range index $v $key }}
{{- if not (hasKey $seen .) }}{{ fail (printf "%s: no job has the name %s" $key .) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* On a node the program takes jobs that find pods, which it narrows to the node's, and those that are listed. */}}
{{- define "envoy-scraper.checkNodeLocal" -}}
{{- $wide := default list .Values.clusterWideJobs }}
{{- $listed := "clusterWideJobs" }}
{{- if .Values.config }}
{{- $wide = default list (default dict (include "envoy-scraper.whole" . | fromJson).envoy_scraper).cluster_wide_jobs }}
{{- $listed = "envoy_scraper.cluster_wide_jobs of config" }}
{{- end }}
{{- range (include "envoy-scraper.jobs" . | fromJson).jobs }}
{{- $job := .job }}
{{- if not (has $job.job_name $wide) }}
{{- range $key, $discoveries := $job }}
{{- if and $discoveries (or (eq $key "static_configs") (hasSuffix "_sd_configs" $key)) }}
{{- range $discoveries }}
{{- if or (ne $key "kubernetes_sd_configs") (ne .role "pod") }}
{{- $what := ternary (printf "%s with role %v" $key .role) $key (eq $key "kubernetes_sd_configs") }}
{{- fail (printf "job %s: %s finds the same targets on every node; list the job in %s, or use another mode" $job.job_name $what $listed) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "envoy-scraper.checkQueue" -}}
{{- $v := .Values }}
{{- $_ := include "envoy-scraper.queueMebibytes" . }}
{{- $kinds := keys (default dict $v.queue.volume) | sortAlpha }}
{{- if gt (len $kinds) 1 }}
{{- fail (printf "queue.volume: %s are set, but a queue is in one place; keep one of them" (join " and " $kinds)) }}
{{- end }}
{{- range $kinds }}
{{- if not (has . (list "emptyDir" "hostPath" "claim")) }}
{{- fail (printf "queue.volume: %s is unknown; it is one of emptyDir, hostPath, claim" .) }}
{{- end }}
{{- end }}
{{- if hasKey (default dict $v.queue.volume) "hostPath" }}
{{- if ne $v.podSecurityLevel "privileged" }}
{{- fail (printf "queue.volume.hostPath: the Pod Security level %s forbids it; set podSecurityLevel: privileged and let the namespace enforce no more, or use a claim" $v.podSecurityLevel) }}
{{- end }}
{{- if not (hasPrefix "/" (toString $v.queue.volume.hostPath.path)) }}
{{- fail "queue.volume.hostPath.path: is not an absolute path, as /var/lib/envoy-scraper" }}
{{- end }}
{{- end }}
{{- if and (hasKey (default dict $v.queue.volume) "claim") (not (default dict $v.queue.volume).claim) }}
{{- fail "queue.volume.claim: needs the size of the claim to make, or the name of one that exists" }}
{{- end }}
{{- with (default dict $v.queue.volume).claim }}
{{- if and .name .size }}
{{- fail "queue.volume.claim: name is of a claim that exists, size of one to be made; keep one of them" }}
{{- end }}
{{- if not (or .name .size) }}
{{- fail "queue.volume.claim: needs the size of the claim to make, or the name of one that exists" }}
{{- end }}
{{- if and .name (eq $v.mode "statefulset") }}
{{- fail "queue.volume.claim.name: each pod of a statefulset has a claim of its own; give size instead" }}
{{- end }}
{{- if and .size (eq $v.mode "daemonset") (not (has "ReadWriteMany" (default list .accessModes))) }}
{{- fail "queue.volume.claim.accessModes: the pods of a daemonset share one claim, each in a folder of its node's name, so it must be [ReadWriteMany]" }}
{{- end }}
{{- end }}
{{- end }}
