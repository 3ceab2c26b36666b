package envoy

// What Istio calls things of a pod with an Envoy.
const (
	ProxyContainer = "istio-proxy"       // the container of a sidecar, a gateway or a waypoint
	PortSuffix     = "envoy-prom"        // ends the name of the port with Envoy's page: http-envoy-prom
	StatsPath      = "/stats/prometheus" // of Envoy's page
	StatsPort      = "15090"             // of Envoy's page
	MergedPort     = "15020"             // of the page that pilot-agent merges

	// Uptime is the series of Envoy's page that says for how many seconds its process has run.
	Uptime = "envoy_server_uptime"
)
