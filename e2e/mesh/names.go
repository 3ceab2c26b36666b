package mesh

// Names of the stats that an Envoy always shows. Most of them stay at 0, as in a real Envoy.
var (
	serverCounters = []string{
		"envoy_cluster_manager_cds_init_fetch_timeout", "envoy_cluster_manager_cds_update_attempt",
		"envoy_cluster_manager_cds_update_failure", "envoy_cluster_manager_cds_update_rejected",
		"envoy_cluster_manager_cds_update_success", "envoy_cluster_manager_cluster_added",
		"envoy_cluster_manager_cluster_modified", "envoy_cluster_manager_cluster_removed",
		"envoy_cluster_manager_cluster_updated", "envoy_cluster_manager_update_merge_cancelled",
		"envoy_listener_manager_lds_update_attempt", "envoy_listener_manager_lds_update_failure",
		"envoy_listener_manager_lds_update_rejected", "envoy_listener_manager_lds_update_success",
		"envoy_listener_manager_listener_added", "envoy_listener_manager_listener_create_failure",
		"envoy_listener_manager_listener_create_success", "envoy_listener_manager_listener_modified",
		"envoy_listener_manager_listener_removed", "envoy_listener_manager_listener_stopped",
		"envoy_server_debug_assertion_failures", "envoy_server_dynamic_unknown_fields",
		"envoy_server_envoy_bug_failures", "envoy_server_main_thread_watchdog_mega_miss",
		"envoy_server_main_thread_watchdog_miss", "envoy_server_static_unknown_fields",
		"envoy_server_worker_0_watchdog_mega_miss", "envoy_server_worker_0_watchdog_miss",
		"envoy_server_worker_1_watchdog_mega_miss", "envoy_server_worker_1_watchdog_miss",
	}
	serverGauges = []string{
		"envoy_cluster_manager_active_clusters", "envoy_cluster_manager_cds_version",
		"envoy_cluster_manager_warming_clusters", "envoy_listener_manager_lds_version",
		"envoy_listener_manager_total_listeners_active", "envoy_listener_manager_total_listeners_draining",
		"envoy_listener_manager_total_listeners_warming", "envoy_listener_manager_workers_started",
		"envoy_server_concurrency", "envoy_server_days_until_first_cert_expiring",
		"envoy_server_hot_restart_epoch", "envoy_server_live", "envoy_server_memory_allocated",
		"envoy_server_memory_heap_size", "envoy_server_memory_physical_size", "envoy_server_parent_connections",
		"envoy_server_state", "envoy_server_stats_recent_lookups", "envoy_server_total_connections",
		"envoy_server_uptime", "envoy_server_version",
	}
	clusterCounters = []string{
		"envoy_cluster_assignment_stale", "envoy_cluster_assignment_timeout_received", "envoy_cluster_bind_errors",
		"envoy_cluster_default_total_match_count", "envoy_cluster_lb_healthy_panic", "envoy_cluster_lb_local_cluster_not_ok",
		"envoy_cluster_lb_recalculate_zone_structures", "envoy_cluster_lb_subsets_created", "envoy_cluster_lb_subsets_fallback",
		"envoy_cluster_lb_subsets_removed", "envoy_cluster_lb_subsets_selected", "envoy_cluster_membership_change",
		"envoy_cluster_original_dst_host_invalid", "envoy_cluster_retry_or_shadow_abandoned", "envoy_cluster_update_attempt",
		"envoy_cluster_update_empty", "envoy_cluster_update_failure", "envoy_cluster_update_success",
		"envoy_cluster_upstream_cx_connect_fail", "envoy_cluster_upstream_cx_connect_timeout", "envoy_cluster_upstream_cx_destroy",
		"envoy_cluster_upstream_cx_destroy_local", "envoy_cluster_upstream_cx_destroy_remote", "envoy_cluster_upstream_cx_http1_total",
		"envoy_cluster_upstream_cx_http2_total", "envoy_cluster_upstream_cx_overflow", "envoy_cluster_upstream_cx_protocol_error",
		"envoy_cluster_upstream_cx_rx_bytes_total", "envoy_cluster_upstream_cx_total", "envoy_cluster_upstream_cx_tx_bytes_total",
		"envoy_cluster_upstream_rq_cancelled", "envoy_cluster_upstream_rq_completed", "envoy_cluster_upstream_rq_maintenance_mode",
		"envoy_cluster_upstream_rq_pending_failure_eject", "envoy_cluster_upstream_rq_pending_overflow",
		"envoy_cluster_upstream_rq_pending_total", "envoy_cluster_upstream_rq_per_try_timeout", "envoy_cluster_upstream_rq_retry",
		"envoy_cluster_upstream_rq_retry_overflow", "envoy_cluster_upstream_rq_retry_success", "envoy_cluster_upstream_rq_rx_reset",
		"envoy_cluster_upstream_rq_timeout", "envoy_cluster_upstream_rq_total", "envoy_cluster_upstream_rq_tx_reset",
	}
	clusterGauges = []string{
		"envoy_cluster_circuit_breakers_default_cx_open", "envoy_cluster_circuit_breakers_default_rq_open",
		"envoy_cluster_circuit_breakers_default_rq_pending_open", "envoy_cluster_circuit_breakers_default_rq_retry_open",
		"envoy_cluster_circuit_breakers_high_cx_open", "envoy_cluster_circuit_breakers_high_rq_open",
		"envoy_cluster_lb_subsets_active", "envoy_cluster_max_host_weight", "envoy_cluster_membership_degraded",
		"envoy_cluster_membership_excluded", "envoy_cluster_membership_healthy", "envoy_cluster_membership_total",
		"envoy_cluster_upstream_cx_active", "envoy_cluster_upstream_cx_rx_bytes_buffered",
		"envoy_cluster_upstream_cx_tx_bytes_buffered", "envoy_cluster_upstream_rq_active",
		"envoy_cluster_upstream_rq_pending_active", "envoy_cluster_version",
	}
)
