package main

// reporter chooses which side's count of a request is shown, so that no request counts twice.
func reporter() variable {
	return variable{Name: "reporter", Label: "Reporter", Type: "custom", Query: "destination,source,waypoint",
		Current: &current{Text: "destination", Value: "destination"}}
}

// both selects two metrics. Each workload with traffic has at least one of them.
const both = `__name__=~"istio_requests_total|istio_tcp_sent_bytes_total"`

// sides asks for the values of label with the prefixes destination_ and source_.
func sides(label, destination, source string) string {
	return "query_result(" + sum("destination_"+label, "{"+both+destination+"}") + " or " +
		sum("source_"+label, "{"+both+source+"}") + ")"
}

func workloadDashboard() dashboard {
	d := newDashboard("envoy-scraper-workload", "Mesh workload",
		"Requests and TCP traffic that a workload receives and sends, as Istio's proxies count them.",
		ask("namespace", "Namespace", sides("workload_namespace", "", ""), `/workload_namespace="([^"]*)"/`),
		ask("workload", "Workload",
			sides("workload", `,destination_workload_namespace="$namespace"`,
				`,source_workload_namespace="$namespace"`),
			`/workload="([^"]*)"/`),
		reporter(),
	)
	const (
		inbound  = `reporter="$reporter",destination_workload_namespace="$namespace",destination_workload="$workload"`
		outbound = `reporter="source",source_workload_namespace="$namespace",source_workload="$workload"`
		from     = "source_workload, source_workload_namespace"
		to       = "destination_service"
	)
	d.stat("Incoming requests", "reqps", rate("", "istio_requests_total{"+inbound+"}"))
	d.stat("Incoming success", "percentunit", success("", inbound))
	d.stat("Outgoing requests", "reqps", rate("", "istio_requests_total{"+outbound+"}"))
	d.stat("Outgoing success", "percentunit", success("", outbound))
	d.stat("TCP received", "Bps", rate("", "istio_tcp_received_bytes_total{"+inbound+"}"))
	d.stat("TCP sent", "Bps", rate("", "istio_tcp_sent_bytes_total{"+outbound+"}"))

	d.row("Incoming, by source")
	d.traffic(inbound, from)
	d.row("Outgoing, by destination")
	d.traffic(outbound, to)
	return d
}

func serviceDashboard() dashboard {
	d := newDashboard("envoy-scraper-service", "Mesh service",
		"Requests and TCP traffic to a service, as its clients and its servers count them.",
		ask("namespace", "Namespace", "label_values({"+both+"}, destination_service_namespace)", ""),
		ask("service", "Service",
			"label_values({"+both+`,destination_service_namespace="$namespace"}, destination_service)`, ""),
		reporter(),
	)
	const (
		all    = `destination_service_namespace="$namespace",destination_service="$service"`
		client = `reporter="source",` + all
		server = `reporter="destination",` + all
		chosen = `reporter="$reporter",` + all
	)
	d.stat("Requests (clients)", "reqps", rate("", "istio_requests_total{"+client+"}"))
	d.stat("Success (clients)", "percentunit", success("", client))
	d.stat("TCP received (clients)", "Bps", rate("", "istio_tcp_received_bytes_total{"+client+"}"))
	d.stat("Requests (servers)", "reqps", rate("", "istio_requests_total{"+server+"}"))
	d.stat("Success (servers)", "percentunit", success("", server))
	d.stat("TCP received (servers)", "Bps", rate("", "istio_tcp_received_bytes_total{"+server+"}"))

	d.row("By client workload")
	d.traffic(chosen, "source_workload, source_workload_namespace")
	d.row("By server workload")
	d.traffic(chosen, "destination_workload, destination_workload_namespace")
	return d
}

// traffic adds the panels for the series that matchers select, grouped by labels.
func (d *dashboard) traffic(matchers, labels string) {
	of := func(name string) string { return name + "{" + matchers + "}" }
	d.graph("Requests by response code", "reqps", "",
		query{rate(labels+", response_code", of("istio_requests_total")), legend(labels) + " {{response_code}}"})
	d.graph("Success", "percentunit", "Share of requests without a 5xx response.",
		query{success(labels, matchers), legend(labels)})
	d.graph("Duration of requests", "s", "",
		quantiles(labels, of("istio_request_duration_milliseconds_bucket"), 0.001)...)
	d.graph("Size of requests", "bytes", "", quantiles(labels, of("istio_request_bytes_bucket"), 1)...)
	d.graph("Size of responses", "bytes", "", quantiles(labels, of("istio_response_bytes_bucket"), 1)...)
	d.graph("Requests by security", "reqps", "mutual_tls or none; unknown where the client counts.",
		query{rate("connection_security_policy", of("istio_requests_total")), "{{connection_security_policy}}"})
	d.graph("TCP bytes received", "Bps", "", query{rate(labels, of("istio_tcp_received_bytes_total")), legend(labels)})
	d.graph("TCP bytes sent", "Bps", "", query{rate(labels, of("istio_tcp_sent_bytes_total")), legend(labels)})
	d.graph("TCP connections", "cps", "",
		query{rate(labels, of("istio_tcp_connections_opened_total")), legend(labels) + " opened"},
		query{rate(labels, of("istio_tcp_connections_closed_total")), legend(labels) + " closed"})
}
