package fleet

import "fmt"

var (
	// serviceNames are stems; a number makes each service of the mesh its own.
	serviceNames = []string{
		"productpage", "reviews", "details", "ratings", "checkout", "payment", "cart", "recommender",
		"shipping", "inventory", "currency", "frontend", "ads", "email", "sessions", "search",
	}
	namespaces = []string{"bookinfo", "payments", "identity", "delivery", "accounts", "messages"}

	// bucketBounds are Istio's and Envoy's default histogram bounds, as printed.
	bucketBounds = []string{
		"0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000",
		"60000", "300000", "600000", "1800000", "3600000", "+Inf",
	}

	istioHTTPHistograms = []string{
		"istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes",
	}
	istioTCPCounters = []string{
		"istio_tcp_connections_closed_total", "istio_tcp_connections_opened_total",
		"istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total",
	}
	responseCodes = []string{"200", "404", "503", "304", "500", "429", "302", "403", "0", "504"}

	clusterHistograms = []string{"envoy_cluster_upstream_cx_connect_ms", "envoy_cluster_upstream_cx_length_ms"}
	clusterGauges     = prefixed("envoy_cluster_", []string{
		"circuit_breakers_default_cx_open", "circuit_breakers_default_cx_pool_open", "circuit_breakers_default_rq_open",
		"circuit_breakers_default_rq_pending_open", "circuit_breakers_default_rq_retry_open",
		"lb_subsets_active", "max_host_weight", "membership_degraded", "membership_excluded", "membership_healthy",
		"membership_total", "upstream_cx_active", "upstream_cx_rx_bytes_buffered", "upstream_cx_tx_bytes_buffered",
		"upstream_rq_active", "upstream_rq_pending_active", "version",
	})
	clusterCounters = prefixed("envoy_cluster_", []string{
		"assignment_stale", "assignment_timeout_received", "bind_errors",
		"client_ssl_socket_factory_ssl_context_update_by_sds", "default_total_match_count",
		"http2_header_overflow", "http2_headers_cb_no_stream", "http2_inbound_empty_frames_flood",
		"http2_outbound_flood", "http2_rx_reset", "http2_trailers", "http2_tx_reset", "internal_upstream_rq_completed",
		"lb_healthy_panic", "lb_local_cluster_not_ok", "lb_recalculate_zone_structures", "lb_subsets_created",
		"lb_subsets_fallback", "lb_zone_cluster_too_small", "lb_zone_no_capacity_left", "lb_zone_routing_all_directly",
		"membership_change", "original_dst_host_invalid", "retry_or_shadow_abandoned", "ssl_connection_error",
		"ssl_fail_verify_error", "ssl_fail_verify_san", "ssl_handshake", "ssl_session_reused", "update_attempt",
		"update_empty", "update_failure", "update_no_rebuild", "update_success", "upstream_cx_close_notify",
		"upstream_cx_connect_attempts_exceeded", "upstream_cx_connect_fail", "upstream_cx_connect_timeout",
		"upstream_cx_destroy", "upstream_cx_destroy_local", "upstream_cx_destroy_remote",
		"upstream_cx_destroy_with_active_rq", "upstream_cx_http2_total", "upstream_cx_idle_timeout",
		"upstream_cx_max_requests", "upstream_cx_overflow", "upstream_cx_pool_overflow", "upstream_cx_protocol_error",
		"upstream_cx_rx_bytes_total", "upstream_cx_total", "upstream_cx_tx_bytes_total",
		"upstream_flow_control_backed_up_total", "upstream_flow_control_drained_total", "upstream_rq_cancelled",
		"upstream_rq_completed", "upstream_rq_maintenance_mode", "upstream_rq_pending_failure_eject",
		"upstream_rq_pending_overflow", "upstream_rq_pending_total", "upstream_rq_per_try_timeout", "upstream_rq_retry",
		"upstream_rq_retry_overflow", "upstream_rq_retry_success", "upstream_rq_rx_reset", "upstream_rq_timeout",
		"upstream_rq_total", "upstream_rq_tx_reset",
	})
	globalCounters = prefixed("envoy_", []string{
		"cluster_manager_cds_update_attempt", "cluster_manager_cds_update_failure",
		"cluster_manager_cds_update_success",
		"cluster_manager_cluster_added", "cluster_manager_cluster_modified", "cluster_manager_cluster_removed",
		"listener_manager_lds_update_attempt", "listener_manager_lds_update_success",
		"listener_manager_listener_added", "listener_manager_listener_create_success",
		"server_main_thread_watchdog_miss", "server_worker_0_watchdog_miss", "server_worker_1_watchdog_miss",
	})
	globalGauges = prefixed("envoy_", []string{
		"cluster_manager_active_clusters", "cluster_manager_warming_clusters",
		"listener_manager_total_listeners_active",
		"server_concurrency", "server_live", "server_memory_allocated", "server_memory_heap_size",
		"server_stats_recent_lookups", "server_total_connections", "server_uptime",
	})
	// hotClusterStats move on a cluster that has traffic; the others stay as they are.
	hotClusterStats = map[string]bool{
		"envoy_cluster_upstream_rq_total": true, "envoy_cluster_upstream_rq_completed": true,
		"envoy_cluster_upstream_cx_rx_bytes_total": true, "envoy_cluster_upstream_cx_tx_bytes_total": true,
		"envoy_cluster_upstream_cx_length_ms": true, "envoy_cluster_upstream_cx_total": true,
		"envoy_cluster_upstream_cx_active": true, "envoy_cluster_upstream_rq_active": true,
	}
)

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

// uptimeName is the gauge that has the seconds since the process began.
const uptimeName = "envoy_server_uptime"

// service is one service of the mesh; the number alone decides all its names.
type service struct{ name, namespace string }

func serviceAt(n int) service {
	return service{
		name:      fmt.Sprintf("%s-%04d", serviceNames[n%len(serviceNames)], n),
		namespace: namespaces[n/len(serviceNames)%len(namespaces)],
	}
}

func (s service) host() string { return s.name + "." + s.namespace + ".svc.cluster.local" }

func (s service) principal() string {
	return "spiffe://cluster.local/ns/" + s.namespace + "/sa/" + s.name
}

// cluster is Envoy's name of the service as an upstream; subset holds the churn tag.
func (s service) cluster(subset string) string { return "outbound|9080|" + subset + "|" + s.host() }

// tagWidth is fixed, so that a new generation overwrites the old one in place.
const tagWidth = 5

// appendTag writes a generation as the fixed-width suffix of a workload's or subset's name.
func appendTag(dst []byte, generation uint32) []byte {
	const digits = "0123456789bcdfghjklmnpqrstvwxz"
	var tag [tagWidth]byte
	for i := tagWidth - 1; i >= 0; i-- {
		tag[i] = digits[generation%uint32(len(digits))]
		generation /= uint32(len(digits))
	}
	return append(dst, tag[:]...)
}
