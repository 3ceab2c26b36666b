package mesh

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// proxy is one Envoy: its pod and its stats. The mesh's mutex guards it.
type proxy struct {
	sidecar Sidecar
	stats   stats
	began   time.Duration // when the process began, as an uptime of the mesh

	labelSets map[labelKey]string // formatted labels, cached by what they depend on
}

type labelKey struct {
	reporter, source, destination string
	status                        int
}

// outsideHost is the service outside the mesh that details asks.
const outsideHost = "books.example.com"

// peer is what Istio's labels say about one side of a hop.
type peer struct {
	workload, namespace, principal, app, version, service, revision, cluster string
}

// peerOf returns the labels of a side. A side without a sidecar is nil.
func peerOf(s *Sidecar) peer {
	const no = "unknown"
	if s == nil {
		return peer{no, no, no, no, no, no, "latest", no}
	}
	return peer{s.Workload, s.Namespace, s.Principal, s.Service, s.Version, s.Service, s.revision(), "Kubernetes"}
}

// labels formats Istio's labels of an HTTP request, or of a TCP connection if status is 0, in Istio's order. A side
// without a sidecar is nil: a client that sends plaintext, or a service outside the mesh.
func (p *proxy) labels(reporter string, from, to *Sidecar, status int) string {
	source, destination := peerOf(from), peerOf(to)
	key := labelKey{reporter, source.workload, destination.workload, status}
	if known, ok := p.labelSets[key]; ok {
		return known
	}
	security := "unknown" // only the destination knows the policy
	if reporter == "destination" {
		security = "mutual_tls"
		if from == nil {
			security, destination.principal = "none", "unknown" // no certificates are exchanged
		}
	}
	service, serviceName := outsideHost, "PassthroughCluster"
	if to != nil {
		service, serviceName = to.host(), to.Service
	}
	pairs := []string{
		"reporter", reporter,
		"source_workload", source.workload, "source_canonical_service", source.service,
		"source_canonical_revision", source.revision, "source_workload_namespace", source.namespace,
		"source_principal", source.principal, "source_app", source.app, "source_version", source.version,
		"source_cluster", source.cluster,
		"destination_workload", destination.workload, "destination_workload_namespace", destination.namespace,
		"destination_principal", destination.principal, "destination_app", destination.app,
		"destination_version", destination.version, "destination_service", service,
		"destination_canonical_service", destination.service,
		"destination_canonical_revision", destination.revision,
		"destination_service_name", serviceName, "destination_service_namespace", destination.namespace,
		"destination_cluster", destination.cluster,
	}
	if status == 0 {
		pairs = append(pairs, "request_protocol", "tcp")
	} else {
		pairs = append(pairs, "request_protocol", "http", "response_code", strconv.Itoa(status),
			"grpc_response_status", "")
	}
	pairs = append(pairs, "response_flags", "-", "connection_security_policy", security)
	l := printLabels(pairs...)
	p.labelSets[key] = l
	return l
}

// newProxy returns a proxy that has just started, with the stats that every Envoy has.
func newProxy(s Sidecar) *proxy {
	p := &proxy{sidecar: s, labelSets: map[labelKey]string{}}
	for _, name := range serverCounters {
		p.stats.counter(name, "")
	}
	for _, name := range serverGauges {
		p.stats.gauge(name, "")
	}
	p.stats.gauge("envoy_server_live", "").value = 1
	p.stats.gauge("envoy_server_concurrency", "").value = 2
	p.stats.gauge("envoy_server_version", "").value = 14128790
	p.stats.gauge("envoy_listener_manager_workers_started", "").value = 1
	p.stats.gauge("istio_build", printLabels("component", "proxy", "tag", "1.27.3")).value = 1
	p.stats.histogram("envoy_server_initialization_time_ms", "").observe(1750)
	p.cluster("xds-grpc")
	return p
}

// cluster creates the stats of an upstream cluster if needed, and returns their label.
func (p *proxy) cluster(name string) string {
	l := printLabels("cluster_name", name)
	active := p.stats.gauge("envoy_cluster_upstream_cx_active", l)
	if active.value > 0 {
		return l
	}
	for _, c := range clusterCounters {
		p.stats.counter(c, l)
	}
	for _, g := range clusterGauges {
		p.stats.gauge(g, l)
	}
	active.value = 1
	p.stats.counter("envoy_cluster_upstream_cx_total", l).add(1)
	p.stats.counter("envoy_cluster_membership_change", l).add(1)
	p.stats.gauge("envoy_cluster_membership_healthy", l).value = 1
	p.stats.gauge("envoy_cluster_membership_total", l).value = 1
	p.stats.gauge("envoy_cluster_manager_active_clusters", "").add(1)
	p.stats.counter("envoy_cluster_manager_cluster_added", "").add(1)
	return l
}

// connection counts a connection to a cluster if it is new, and returns the cluster's label. Beyond four, an old
// connection is closed instead.
func (p *proxy) connection(cluster string, isNew bool) (label string) {
	l := p.cluster(cluster)
	if !isNew {
		return l
	}
	p.stats.counter("envoy_cluster_upstream_cx_total", l).add(1)
	if active := p.stats.gauge("envoy_cluster_upstream_cx_active", l); active.value < 4 {
		active.add(1)
	} else {
		p.stats.counter("envoy_cluster_upstream_cx_destroy", l).add(1)
	}
	return l
}

// upstream counts one request that the proxy sent to a cluster.
func (p *proxy) upstream(name string, a answer, requestBytes float64, isNew bool) {
	l := p.connection(name, isNew)
	code := strconv.Itoa(a.status)
	p.stats.counter("envoy_cluster_upstream_rq", printLabels("response_code", code, "cluster_name", name)).add(1)
	p.stats.counter("envoy_cluster_upstream_rq_xx",
		printLabels("response_code_class", code[:1]+"xx", "cluster_name", name)).add(1)
	for _, c := range []string{"envoy_cluster_upstream_rq_total", "envoy_cluster_upstream_rq_completed",
		"envoy_cluster_default_total_match_count"} {
		p.stats.counter(c, l).add(1)
	}
	p.stats.counter("envoy_cluster_upstream_cx_tx_bytes_total", l).add(uint64(requestBytes))
	p.stats.counter("envoy_cluster_upstream_cx_rx_bytes_total", l).add(uint64(a.bytes) + 187)
	p.stats.histogram("envoy_cluster_upstream_rq_time", l).observe(roundMillis(a.millis))
}

// downstream counts one request that the proxy accepted.
func (p *proxy) downstream(listener, prefix string, a answer, isNew bool) {
	l, h := printLabels("listener_address", listener), printLabels("http_conn_manager_prefix", prefix)
	p.stats.counter("envoy_http_downstream_rq_total", h).add(1)
	class := printLabels("response_code_class", strconv.Itoa(a.status/100)+"xx", "http_conn_manager_prefix", prefix)
	p.stats.counter("envoy_http_downstream_rq_xx", class).add(1)
	total := p.stats.counter("envoy_listener_downstream_cx_total", l)
	active := p.stats.gauge("envoy_listener_downstream_cx_active", l)
	destroyed := p.stats.counter("envoy_listener_downstream_cx_destroy", l)
	if !isNew && total.value > 0 {
		return
	}
	total.add(1)
	if active.value < 6 {
		active.add(1)
	} else {
		destroyed.add(1)
	}
}

// age changes the stats that depend on time and not on traffic.
func (p *proxy) age(uptime time.Duration, rng *rand.Rand) {
	p.stats.gauge("envoy_server_uptime", "").value = uint64(uptime / time.Second)
	p.stats.gauge("envoy_server_memory_allocated", "").value = 24<<20 + rng.Uint64N(4<<20)
	p.stats.gauge("envoy_server_memory_heap_size", "").value = 40 << 20
	p.stats.gauge("envoy_server_memory_physical_size", "").value = 52 << 20
	p.stats.gauge("envoy_listener_manager_total_listeners_active", "").value = 9

	pushes := 1 + uint64(uptime/(5*time.Minute)) // from the control plane
	for _, api := range []string{"envoy_cluster_manager_cds", "envoy_listener_manager_lds"} {
		p.stats.counter(api+"_update_attempt", "").value = pushes + 1
		p.stats.counter(api+"_update_success", "").value = pushes
		p.stats.gauge(api+"_version", "").value = 13313255528978349008 + pushes // a hash in Envoy, of about this size
	}
}
