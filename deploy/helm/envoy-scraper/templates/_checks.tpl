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
{{- if and (eq $v.mode "daemonset") (not (has (toString (dig "rollingUpdate" "maxSurge" 0 $v.updateStrategy)) (list "0" "0%"))) }}
{{- fail "updateStrategy.rollingUpdate.maxSurge: two pods of one node would scrape everything twice; leave it out" }}
{{- end }}
{{- if and $v.podDisruptionBudget.enabled (eq $v.mode "daemonset") }}
{{- fail "podDisruptionBudget.enabled: does nothing for a daemonset, whose pods no drain evicts; use updateStrategy.rollingUpdate.maxUnavailable" }}
{{- end }}
{{- if and (not $v.serviceAccount.create) $v.rights.create (not $v.serviceAccount.name) (eq (include "envoy-scraper.needsToken" .) "true") }}
{{- fail "serviceAccount.name: is empty and create is false, so the rights would be given to every pod of the namespace; name an account" }}
{{- end }}
{{- end }}

{{- define "envoy-scraper.checkReceivers" -}}
{{- $v := .Values }}
{{- $entries := (include "envoy-scraper.receivers" . | fromJson).entries }}
{{- if and $v.config $v.remoteWrite }}
{{- fail "config: is the whole configuration, so remoteWrite would not be read; move its entries to remote_write of config" }}
{{- end }}
{{- range $key := list "extraJobs" "additionalScrapeConfigs" }}
{{- if and $v.config (index $v $key) }}
{{- fail (printf "config: is the whole configuration, so %s would not be read; move its jobs into config" $key) }}
{{- end }}
{{- end }}
{{- if not $entries }}
{{- if $v.config }}
{{- fail "config: has no remote_write, so nothing would be sent anywhere" }}
{{- end }}
{{- fail "remoteWrite: is empty, so nothing would be sent anywhere; give a receiver, as remoteWrite[0].url=http://prometheus-server.monitoring.svc:9090/api/v1/write" }}
{{- end }}
{{- range $i, $entry := $entries }}
{{- if not $entry.url }}
{{- fail (printf "remoteWrite[%d].url: is missing" $i) }}
{{- end }}
{{- range $key := list "bearerTokenSecret" "basicAuthSecret" "tlsSecret" }}
{{- with index $entry $key }}
{{- if not .name }}{{ fail (printf "remoteWrite[%d].%s.name: is missing; it names a secret of the namespace" $i $key) }}{{ end }}
{{- end }}
{{- end }}
{{- if or (and $entry.bearerTokenSecret $entry.basicAuthSecret)
  (and (or $entry.bearerTokenSecret $entry.basicAuthSecret) (or $entry.authorization $entry.basic_auth $entry.oauth2)) }}
{{- fail (printf "remoteWrite[%d]: has more than one of bearerTokenSecret, basicAuthSecret, authorization, basic_auth, oauth2; keep one" $i) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "envoy-scraper.checkJobs" -}}
{{- $v := .Values }}
{{- if not (or $v.config $v.sidecarJob.enabled $v.extraJobs $v.additionalScrapeConfigs) }}
{{- fail "sidecarJob.enabled: is false and there are no extraJobs, so nothing would be scraped" }}
{{- end }}
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

{{- define "envoy-scraper.checkQueue" -}}
{{- $v := .Values }}
{{- $kinds := keys $v.queue.volume | sortAlpha }}
{{- if gt (len $kinds) 1 }}
{{- fail (printf "queue.volume: %s are set, but a queue is in one place; keep one of them" (join " and " $kinds)) }}
{{- end }}
{{- range $kinds }}
{{- if not (has . (list "emptyDir" "hostPath" "claim")) }}
{{- fail (printf "queue.volume: %s is unknown; it is one of emptyDir, hostPath, claim" .) }}
{{- end }}
{{- end }}
{{- if hasKey $v.queue.volume "hostPath" }}
{{- if ne $v.podSecurityLevel "privileged" }}
{{- fail (printf "queue.volume.hostPath: the Pod Security level %s forbids it; set podSecurityLevel: privileged and let the namespace enforce no more, or use a claim" $v.podSecurityLevel) }}
{{- end }}
{{- if not (hasPrefix "/" (toString $v.queue.volume.hostPath.path)) }}
{{- fail "queue.volume.hostPath.path: is not an absolute path, as /var/lib/envoy-scraper" }}
{{- end }}
{{- end }}
{{- with $v.queue.volume.claim }}
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
