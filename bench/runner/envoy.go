package runner

import (
	"fmt"
	"net"
	"strings"
)

// EnvoyShape is how many stats an Envoy has.
type EnvoyShape struct {
	Clusters        int // about 170 lines each
	VirtualClusters int // six lines each
}

// bootstrap returns the configuration of an Envoy without traffic. Its listener has a free port that nobody asks.
func (s EnvoyShape) bootstrap(admin string) string {
	host, port, _ := net.SplitHostPort(admin)
	var b strings.Builder
	fmt.Fprintf(&b, `node: {id: sidecar~bench, cluster: bench}
admin: {address: {socket_address: {address: %s, port_value: %s}}}
stats_flush_interval: 299s # a flush walks over all stats, whether anybody scrapes or not
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: %[1]s, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inbound
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: inbound
            virtual_hosts:
            - name: app
              domains: ["*"]
              routes: [{match: {prefix: "/"}, direct_response: {status: 200}}]
              virtual_clusters:
`, host, port)
	for n := range s.VirtualClusters {
		fmt.Fprintf(&b, "              - {name: call-%d, headers: [{name: ':path', string_match: %s}]}\n", n,
			fmt.Sprintf("{exact: /%d}", n))
	}
	b.WriteString("  clusters:\n")
	for n := range s.Clusters {
		fmt.Fprintf(&b, "  - {name: 'outbound|9080||reviews-%d.shop.svc.cluster.local', type: STATIC}\n", n)
	}
	return b.String()
}
