{{- /* The template of a pod. */}}
{{- define "envoy-scraper.pod" -}}
{{- $kind := include "envoy-scraper.queueKind" . -}}
metadata:
  labels:
    {{- include "envoy-scraper.selector" . | nindent 4 }}
    {{- if not (hasKey (default dict .Values.podLabels) "sidecar.istio.io/inject") }}
    # No sidecar is needed: the stats of sidecars are plain HTTP.
    sidecar.istio.io/inject: "false"
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $scraped := dict "prometheus.io/scrape" "true" "prometheus.io/port" "9095" "prometheus.io/path" "/metrics" }}
  {{- with mergeOverwrite (ternary $scraped (dict) .Values.metrics.annotations) (default dict .Values.podAnnotations) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "envoy-scraper.serviceAccount" . | toYaml }}
  automountServiceAccountToken: {{ include "envoy-scraper.needsToken" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
  {{- toYaml . | nindent 2 }}
  {{- end }}
  # Longer than --storage.remote.flush-deadline, so that the last samples are delivered.
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ toYaml . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not (kindIs "invalid" .Values.tolerations) }}
  {{- with .Values.tolerations }}
  tolerations:
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- else if eq .Values.mode "daemonset" }}
  tolerations:
  - operator: Exists # tainted nodes have sidecars too
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  {{- if and (eq $kind "hostPath") .Values.queue.volume.hostPath.prepareImage }}
  initContainers:
  # The kubelet creates the directory for root.
  - name: prepare
    image: {{ .Values.queue.volume.hostPath.prepareImage }}
    command: [chown, "65532:65532", /var/lib/envoy-scraper]
    {{- if eq .Values.mode "statefulset" }}
    env:
    {{- include "envoy-scraper.env" . | nindent 4 }}
    {{- end }}
    securityContext:
      runAsNonRoot: false
      runAsUser: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
        add: [CHOWN]
    volumeMounts:
    {{- include "envoy-scraper.queueMount" . | nindent 4 }}
  {{- end }}
  containers:
  {{- include "envoy-scraper.container" . | nindent 2 }}
  volumes:
  {{- include "envoy-scraper.volumes" . | trim | nindent 2 }}
{{- end }}

{{- define "envoy-scraper.container" -}}
- name: envoy-scraper
  image: {{ include "envoy-scraper.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
  {{- include "envoy-scraper.args" . | nindent 2 }}
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- $own := include "envoy-scraper.env" . }}
  {{- if or $own .Values.secretEnv .Values.extraEnv }}
  env:
  {{- $own | nindent 2 }}
  {{- range $name, $secret := .Values.secretEnv }}
  - name: {{ $name }}
    valueFrom:
      secretKeyRef:
        name: {{ $secret.name | toYaml }}
        key: {{ $secret.key | toYaml }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
  ports:
  - name: http
    containerPort: 9095
  livenessProbe:
    httpGet:
      path: /-/healthy
      port: http
    periodSeconds: 15
    timeoutSeconds: 5
    failureThreshold: 4
  readinessProbe:
    httpGet:
      path: /-/ready
      port: http
    periodSeconds: 5
    timeoutSeconds: 3
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
  volumeMounts:
  - name: config
    mountPath: /etc/envoy-scraper
    readOnly: true
  {{- include "envoy-scraper.queueMount" . | nindent 2 }}
  {{- range $i, $secret := (include "envoy-scraper.secrets" . | fromJson).names }}
  - name: secret-{{ $i }}
    mountPath: /run/secrets/envoy-scraper/{{ $secret }}
    readOnly: true
  {{- end }}
{{- end }}

{{- define "envoy-scraper.args" -}}
- --config.file=/etc/envoy-scraper/envoy-scraper.yml
- --config.auto-reload
- --web.listen-address=:9095
- --storage.path=/var/lib/envoy-scraper
{{- if eq (include "envoy-scraper.queueKind" .) "emptyDir" }}
# The queue is lost with the pod, so a stop delivers it for up to the grace period less 5 s, and waits for the receiver.
- --storage.ephemeral
- --storage.remote.flush-deadline={{ sub (int .Values.terminationGracePeriodSeconds) 5 }}s
{{- end }}
{{- if eq .Values.mode "statefulset" }}
- --shard.index=ordinal
{{- end }}
- --log.level={{ .Values.logLevel }}
- --log.format={{ .Values.logFormat }}
{{- if .Values.selfScrape }}
- --self-scrape
{{- end }}
{{- end }}

{{- define "envoy-scraper.env" -}}
{{- if eq .Values.mode "daemonset" -}}
# Restricts discovery: each pod of the DaemonSet watches and scrapes the pods of its own node.
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{ end -}}
{{- $set := hasKey (default dict .Values.secretEnv) "POD_NAME" }}
{{- range .Values.extraEnv }}{{ if eq (toString .name) "POD_NAME" }}{{ $set = true }}{{ end }}{{ end }}
{{- if or (eq .Values.mode "statefulset") (not $set) -}}
{{- if eq .Values.mode "statefulset" -}}
# The number at its end is the index of this shard.
{{ end -}}
# %{POD_NAME} in the configuration, as in envoy_scraper.aggregate, tells this pod from others.
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- end }}

{{- define "envoy-scraper.queueMount" -}}
- name: data
  mountPath: /var/lib/envoy-scraper
  {{- $kind := include "envoy-scraper.queueKind" . }}
  {{- if and (eq $kind "claim") (eq .Values.mode "daemonset") }}
  subPathExpr: $(NODE_NAME) # one process per directory
  {{- else if and (eq $kind "hostPath") (eq .Values.mode "statefulset") }}
  subPathExpr: $(POD_NAME) # one process per directory
  {{- end }}
{{- end }}

{{- define "envoy-scraper.volumes" -}}
{{- $kind := include "envoy-scraper.queueKind" . -}}
{{- if eq $kind "emptyDir" }}
{{- $dir := default dict (default dict .Values.queue.volume).emptyDir -}}
# Outlives the container, not the pod. It holds at most {{ include "envoy-scraper.queueMebibytes" . }} MiB (queue.max_bytes for each receiver).
- name: data
  emptyDir:
    {{- with $dir.medium }}
    medium: {{ . }}
    {{- end }}
    sizeLimit: {{ include "envoy-scraper.volumeSize" (dict "root" . "key" "queue.volume.emptyDir.sizeLimit" "size" $dir.sizeLimit) }}
{{- else if eq $kind "hostPath" }}
- name: data
  hostPath:
    path: {{ .Values.queue.volume.hostPath.path | toYaml }}
    type: DirectoryOrCreate
{{- else if ne .Values.mode "statefulset" }}
- name: data
  persistentVolumeClaim:
    claimName: {{ default (include "envoy-scraper.fullname" .) .Values.queue.volume.claim.name | toYaml }}
{{- end }}
- name: config
  configMap:
    name: {{ include "envoy-scraper.fullname" . | toYaml }}
{{- range $i, $secret := (include "envoy-scraper.secrets" . | fromJson).names }}
- name: secret-{{ $i }}
  secret:
    secretName: {{ $secret | toYaml }}
    defaultMode: 0400
{{- end }}
{{- end }}

{{- /* The spec of a new claim. */}}
{{- define "envoy-scraper.claimSpec" -}}
{{- $claim := .Values.queue.volume.claim -}}
accessModes: {{ default (list "ReadWriteOnce") $claim.accessModes | toJson }}
{{- with $claim.storageClass }}
storageClassName: {{ toYaml . }}
{{- end }}
resources:
  requests:
    storage: {{ include "envoy-scraper.volumeSize" (dict "root" . "key" "queue.volume.claim.size" "size" $claim.size) }}
{{- end }}
