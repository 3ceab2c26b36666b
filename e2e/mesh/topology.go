package mesh

import (
	"maps"
	"net/netip"
)

// StatsPort is the port of an Istio sidecar's stats page.
const StatsPort = 15090

// Sidecar is one pod with an Envoy proxy in it.
type Sidecar struct {
	Addr        netip.AddrPort // address of the page, with the pod's IP
	Pod         string
	Namespace   string
	UID         string
	Node        string
	ReplicaSet  string
	Labels      map[string]string
	Annotations map[string]string

	// App is the name of the application's container, or "" for a gateway, which has only a proxy.
	App     string
	AppPort uint16
	// Native means that the proxy is an init container with restartPolicy Always, the default since Istio 1.27.
	Native bool

	Workload, Version, Service, Principal string
}

func (s Sidecar) clone() Sidecar {
	s.Labels, s.Annotations = maps.Clone(s.Labels), maps.Clone(s.Annotations)
	return s
}

const (
	appNamespace     = "bookinfo"
	gatewayNamespace = "istio-system"
	appPort          = 9080
	databasePort     = 27017
)

// roles groups the proxies by what they do with a request: the replicas of each workload.
type roles struct {
	gateway, productpage, details, ratings, database []*proxy

	reviews [][]*proxy // v1 shows no stars, v2 and v3 call ratings
}

func assignRoles(all []*proxy) roles {
	var r roles
	versions := map[string]int{} // workload of reviews -> its index
	for _, p := range all {
		switch p.sidecar.Service {
		case "istio-ingressgateway":
			r.gateway = append(r.gateway, p)
		case "productpage":
			r.productpage = append(r.productpage, p)
		case "details":
			r.details = append(r.details, p)
		case "ratings":
			r.ratings = append(r.ratings, p)
		case "mongodb":
			r.database = append(r.database, p)
		case "reviews":
			i, known := versions[p.sidecar.Workload]
			if !known {
				i, r.reviews = len(r.reviews), append(r.reviews, nil)
				versions[p.sidecar.Workload] = i
			}
			r.reviews[i] = append(r.reviews[i], p)
		}
	}
	return r
}

// bookinfo returns Istio's sample application with all common kinds of injection: native and plain sidecars, with the
// application's own prometheus.io annotations, with Istio's annotations, and with none.
func bookinfo() []Sidecar {
	istios := map[string]string{"prometheus.io/scrape": "true", "prometheus.io/path": "/stats/prometheus",
		"prometheus.io/port": "15020"}
	apps := map[string]string{"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics",
		"prometheus.io/port": "9080"}

	gateway := Sidecar{
		Pod: "istio-ingressgateway-6d8c9f7b5-q7wzn", Namespace: gatewayNamespace,
		ReplicaSet: "istio-ingressgateway-6d8c9f7b5",
		UID:        "0b8f2f0e-1f0a-4f6e-9d0c-5a7d1c2e0001", Node: "node-a", Annotations: istios,
		Labels: map[string]string{
			"app": "istio-ingressgateway", "istio": "ingressgateway", "pod-template-hash": "6d8c9f7b5",
			"service.istio.io/canonical-name": "istio-ingressgateway", "service.istio.io/canonical-revision": "latest",
		},
		Workload: "istio-ingressgateway", Version: "unknown", Service: "istio-ingressgateway",
		Principal: "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account",
	}
	database := workload("mongodb", "v1", "5d6c9b7f44", "p9xvd", "0008", nil, true)
	database.AppPort = databasePort
	return []Sidecar{
		gateway.clone(),
		workload("productpage", "v1", "7c5b8d9f6b", "x2k4q", "0002", apps, false),
		workload("details", "v1", "65cdbd5c87", "h8tvr", "0003", istios, true),
		workload("reviews", "v1", "5f9d7c8b49", "mm6jd", "0004", istios, true),
		workload("reviews", "v2", "84f4b9c7d8", "z9s5c", "0005", istios, true),
		workload("reviews", "v3", "79b8d6f5c4", "k4pwx", "0006", nil, true),
		workload("ratings", "v1", "6b7f9c5d8f", "t2gln", "0007", nil, false),
		database,
	}
}

func workload(app, version, hash, suffix, uid string, annotations map[string]string, native bool) Sidecar {
	name := app + "-" + version
	node := "node-a"
	if native {
		node = "node-b"
	}
	return Sidecar{
		Pod: name + "-" + hash + "-" + suffix, Namespace: appNamespace, ReplicaSet: name + "-" + hash,
		UID: "0b8f2f0e-1f0a-4f6e-9d0c-5a7d1c2e" + uid, Node: node, Annotations: maps.Clone(annotations),
		Labels: map[string]string{
			"app": app, "version": version, "pod-template-hash": hash, "security.istio.io/tlsMode": "istio",
			"service.istio.io/canonical-name": app, "service.istio.io/canonical-revision": version,
		},
		App: app, AppPort: appPort, Native: native,
		Workload: name, Version: version, Service: app,
		Principal: "spiffe://cluster.local/ns/" + appNamespace + "/sa/bookinfo-" + app,
	}
}

// host returns the service's DNS name in the cluster.
func (s *Sidecar) host() string { return s.Service + "." + s.Namespace + ".svc.cluster.local" }

// revision returns Istio's canonical revision.
func (s *Sidecar) revision() string {
	if s.Version == "unknown" {
		return "latest"
	}
	return s.Version
}
