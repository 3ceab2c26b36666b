package pushdown

import (
	"regexp"
	"slices"
	"strings"
)

// scopes are the first parts of raw names that stay the first words of the names that rules see, whatever becomes a
// label: cluster.reviews.upstream_rq_2xx is envoy_cluster_upstream_rq_xx. Not tcp: of Istio's tcp.rbac.allowed Envoy's
// own labels leave envoy_allowed, and Istio's leave envoy_tcp.
var scopes = []string{"cluster", "cluster_manager", "dns", "filesystem", "http", "http1", "listener",
	"listener_manager", "main_thread", "overload", "runtime", "server", "thread_local_cluster_manager",
	"tls_inspector", "vhost", "workers"}

// istioNamespace is in front of the raw names of Istio's metrics, each of which goes on with its labels:
// istiocustom.istio_requests_total.reporter.source.source_workload.reviews.
const istioNamespace = "istiocustom."

// withoutDropped returns a filter that finds all raw names except those of metrics of which the rules drop every
// series; empty: there is nothing to leave out. Envoy's own parameter for that, invert_filter, is ignored by an Envoy
// before 1.40, which would then answer with exactly the wrong half.
func withoutDropped(drops []nameRule) string {
	var dropped []string // beginnings of raw names
	for _, scope := range scopes {
		if dropsAll(drops, envoyPrefix+scope+"_") { // no name ends there
			dropped = append(dropped, scope+".")
		}
	}
	for _, r := range drops {
		for _, p := range r.names {
			switch {
			case !strings.HasPrefix(p.text, istioPrefix):
			case p.rest == anything:
				dropped = append(dropped, istioNamespace+p.text)
			case p.rest == nothing:
				if family := familyOf(p.text); dropsFamily(drops, family) {
					dropped = append(dropped, istioNamespace+family+".")
				}
			}
		}
	}
	slices.Sort(dropped)
	n := 0
	for _, d := range dropped { // one that begins with another one is left out with it
		if n == 0 || !strings.HasPrefix(d, dropped[n-1]) {
			dropped[n] = d
			n++
		}
	}
	if n == 0 {
		return ""
	}
	if filter := "^(?:" + noneOf(dropped[:n]) + ")"; len(filter) <= maxBytes {
		return filter
	}
	return ""
}

// dropsAll reports whether the rules drop each name that begins with text and goes on.
func dropsAll(drops []nameRule, text string) bool {
	return slices.ContainsFunc(drops, func(r nameRule) bool {
		return slices.ContainsFunc(r.names, func(p prefix) bool {
			return strings.HasPrefix(text, p.text) && (p.rest == anything || p.rest == something)
		})
	})
}

// familyOf returns the name of the family that a series may belong to.
func familyOf(name string) string {
	for _, suffix := range suffixes {
		if family, ok := strings.CutSuffix(name, "_"+suffix); ok {
			return family
		}
	}
	return name
}

// dropsFamily reports whether the rules drop each series that a family may have, whatever its type.
func dropsFamily(drops []nameRule, family string) bool {
	names := []string{family}
	for _, suffix := range suffixes {
		names = append(names, family+"_"+suffix)
	}
	for _, name := range names {
		if !slices.ContainsFunc(drops, func(r nameRule) bool { return r.Regex.MatchString(name) }) {
			return false
		}
	}
	return true
}

// noneOf returns an expression for texts that begin with none of the prefixes, to be written behind ^. The prefixes are
// sorted, and none begins with another one. For ab and ac it is
//
//	$|[^a]|a(?:$|[^bc])
func noneOf(prefixes []string) string {
	after := map[byte][]string{}
	var begin []byte // sorted, as the prefixes
	for _, p := range prefixes {
		if after[p[0]] == nil {
			begin = append(begin, p[0])
		}
		after[p[0]] = append(after[p[0]], p[1:])
	}
	expr := "$|[^" + string(begin) + "]"
	for _, c := range begin {
		if longer := after[c]; longer[0] != "" {
			expr += "|" + regexp.QuoteMeta(string(c)) + "(?:" + noneOf(longer) + ")"
		}
	}
	return expr
}
