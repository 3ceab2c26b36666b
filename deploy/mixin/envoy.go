package main

// envoyDashboard shows the proxies by pod. namespace and pod_name are the labels that the documented job gives.
func envoyDashboard() dashboard {
	const proxies = `namespace="$namespace",pod_name=~"$pod"`
	d := newDashboard("envoy-scraper-envoy", "Envoy",
		"The proxies of a namespace by pod: connections, clusters, memory, configuration.",
		ask("namespace", "Namespace", "label_values(envoy_server_live, namespace)", ""),
		ask("pod", "Pod", `label_values(envoy_server_live{namespace="$namespace"}, pod_name)`, "").several(),
	)
	of := func(name string) string { return "envoy_" + name + "{" + proxies + "}" }
	cluster := func(name, more string) string {
		return "envoy_cluster_" + name + "{" + proxies + `,cluster_name!="prometheus_stats"` + more + "}"
	}
	d.stat("Proxies", "none", sum("", of("server_live")))
	d.stat("Connections", "none", sum("", of("server_total_connections")))
	d.stat("Requests upstream", "reqps", rate("", cluster("upstream_rq_total", "")))
	d.stat("Memory allocated", "bytes", sum("", of("server_memory_allocated")))
	d.stat("Clusters", "none", "max("+of("cluster_manager_active_clusters")+")")
	d.stat("Days until a certificate expires", "d", "min("+of("server_days_until_first_cert_expiring")+")")

	d.row("Downstream")
	d.graph("Connections from clients", "none", "HTTP only.",
		query{sum("pod_name", of("http_downstream_cx_active")), "{{pod_name}}"})
	d.graph("Connections opened", "cps", "",
		query{rate("pod_name", of("listener_downstream_cx_total")), "{{pod_name}}"})
	d.graph("Requests", "reqps", "", query{rate("pod_name", of("http_downstream_rq_total")), "{{pod_name}}"})

	d.row("Upstream")
	d.graph("Connections", "none", "",
		query{sum("pod_name, cluster_name", cluster("upstream_cx_active", "")), "{{pod_name}} {{cluster_name}}"})
	d.graph("Connections that failed", "cps", "",
		query{rate("pod_name, cluster_name", cluster("upstream_cx_connect_fail", "")), "{{pod_name}} {{cluster_name}}"})
	d.graph("Requests", "reqps", "",
		query{rate("pod_name, cluster_name", cluster("upstream_rq_total", "")), "{{pod_name}} {{cluster_name}}"})
	d.graph("Duration of requests", "s", "", quantiles("pod_name", cluster("upstream_rq_time_bucket", ""), 0.001)...)
	d.graph("Retries and timeouts", "reqps", "",
		query{rate("pod_name", cluster("upstream_rq_retry", "")), "{{pod_name}} retries"},
		query{rate("pod_name", cluster("upstream_rq_timeout", "")), "{{pod_name}} timeouts"})
	d.graph("Refused by circuit breakers", "cps", "",
		query{rate("pod_name", cluster("upstream_cx_overflow", "")), "{{pod_name}} connections"},
		query{rate("pod_name", cluster("upstream_rq_pending_overflow", "")), "{{pod_name}} requests"})

	d.row("Cluster health")
	d.graph("Healthy hosts", "none", "",
		query{sum("cluster_name", cluster("membership_healthy", "")), "{{cluster_name}}"})
	d.graph("Unhealthy hosts", "none", "", query{sum("cluster_name", cluster("membership_total", "")) + " - " +
		sum("cluster_name", cluster("membership_healthy", "")), "{{cluster_name}}"})
	d.graph("Bytes upstream", "Bps", "",
		query{rate("pod_name", cluster("upstream_cx_rx_bytes_total", "")), "{{pod_name}} received"},
		query{rate("pod_name", cluster("upstream_cx_tx_bytes_total", "")), "{{pod_name}} sent"})

	d.row("Proxy")
	d.graph("Memory", "bytes", "", query{sum("pod_name", of("server_memory_allocated")), "{{pod_name}} allocated"},
		query{sum("pod_name", of("server_memory_heap_size")), "{{pod_name}} heap"})
	d.graph("Uptime", "s", "", query{of("server_uptime"), "{{pod_name}}"})
	d.graph("Open connections", "none", "", query{sum("pod_name", of("server_total_connections")), "{{pod_name}}"})

	d.row("Configuration")
	d.graph("Updates", "cps", "",
		query{rate("pod_name", of("cluster_manager_cds_update_success")), "{{pod_name}} clusters"},
		query{rate("pod_name", of("listener_manager_lds_update_success")), "{{pod_name}} listeners"})
	d.graph("Updates rejected or failed", "cps", "",
		query{rate("pod_name", of("cluster_manager_cds_update_rejected")), "{{pod_name}} clusters rejected"},
		query{rate("pod_name", of("cluster_manager_cds_update_failure")), "{{pod_name}} clusters failed"},
		query{rate("pod_name", of("listener_manager_lds_update_rejected")), "{{pod_name}} listeners rejected"})
	d.graph("Control plane", "none", "Connections to the control plane. Istio calls its cluster xds-grpc.",
		query{sum("pod_name", "envoy_cluster_upstream_cx_active{"+proxies+`,cluster_name="xds-grpc"}`), "{{pod_name}}"})
	return d
}
