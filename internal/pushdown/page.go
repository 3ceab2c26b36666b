package pushdown

import (
	"fmt"
	"net/url"
	"strings"
)

// statsPath is the path of Envoy's page, on its admin port and on the listeners that meshes put in front of it.
const statsPath = "/stats/prometheus"

// mergedPorts are ports of agents that put Envoy's page together with other pages. Istio's answers 200 without Envoy's
// part if Envoy refuses a filter, so nobody would notice.
func mergedPorts() map[string]string {
	return map[string]string{
		"15020": "pilot-agent", "15092": "pilot-agent", "20100": "consul-dataplane", "5670": "kuma-dp",
	}
}

// RefuseParams returns why a page with these parameters must not be asked for with a filter as well; empty: it may.
func RefuseParams(params url.Values) (why string) {
	for _, name := range []string{"filter", "usedonly", "invert_filter", "format"} {
		if _, written := params[name]; written {
			return fmt.Sprintf("the parameter %s is written already", name)
		}
	}
	return ""
}

// RefuseURL returns why the page of a URL must not be asked for with a filter; empty: it may.
func RefuseURL(u *url.URL) (why string) {
	if u.Path != statsPath {
		return fmt.Sprintf("the path is %s, and only %s is known to take a filter", u.Path, statsPath)
	}
	if agent, merged := mergedPorts()[u.Port()]; merged {
		return fmt.Sprintf("port %s is that of %s, which merges pages and hides what Envoy answers", u.Port(), agent)
	}
	return RefuseParams(u.Query())
}

// Param returns a filter as a parameter of a URL. Envoy does not read + as a blank.
func Param(filter string) string {
	return "filter=" + strings.ReplaceAll(url.QueryEscape(filter), "+", "%20")
}
