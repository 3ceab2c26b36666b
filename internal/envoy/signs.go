package envoy

import (
	"bytes"
	"strings"
)

// Signs is the set of kinds of metrics that a page has.
type Signs uint8

// The kinds of metrics.
const (
	Requests Signs = 1 << iota // istio_requests_total
	HTTP                       // others of Istio's standard metrics of HTTP and gRPC traffic
	TCP                        // Istio's standard metrics of TCP traffic: istio_tcp_…
	Agent                      // of pilot-agent, which serves the merged page of port 15020: istio_agent_…
	Istio                      // others that begin with istio_, such as istio_build
	Envoy                      // Envoy's own: envoy_…
	Unknown                    // requests between workloads of which one has the name unknown
	Other                      // anything else, such as an application's
)

// SignOf returns the kind of a series or a family by its name.
func SignOf(name string) Signs {
	switch {
	case strings.HasPrefix(name, "envoy_"):
		return Envoy
	case !strings.HasPrefix(name, "istio_"):
		return Other
	case name == "istio_requests_total", name == "istio_requests": // the family's name in OpenMetrics
		return Requests
	case strings.HasPrefix(name, "istio_tcp_"):
		return TCP
	case strings.HasPrefix(name, "istio_agent_"):
		return Agent
	}
	for _, prefix := range []string{"istio_request_duration_", "istio_request_bytes", "istio_response_bytes",
		"istio_request_messages_", "istio_response_messages_"} {
		if strings.HasPrefix(name, prefix) {
			return HTTP
		}
	}
	return Istio
}

// IsStandard reports whether the name is that of one of Istio's standard metrics, which count traffic.
func IsStandard(name string) bool { return SignOf(name)&(Requests|HTTP|TCP) != 0 }

// unknownWorkload is what Istio writes for a peer without a sidecar, such as a probe.
const unknownWorkload = "unknown"

// SignsOf returns the kinds of a series. source and destination are its labels source_workload and
// destination_workload.
func SignsOf(name, source, destination string) Signs {
	s := SignOf(name)
	if s == Requests && (source == unknownWorkload || destination == unknownWorkload) {
		s |= Unknown
	}
	return s
}

// Read returns the kinds of metrics on a page in one of the text formats, or on a part of one. It reads the
// beginning of each line only, so what follows a name need not be well formed.
func Read(page []byte) (all Signs) {
	for line := range bytes.Lines(page) {
		name := bytes.TrimLeft(line, " \t")
		switch {
		case len(bytes.TrimSpace(name)) == 0 || name[0] == '#':
			continue
		case name[0] == '{': // {"name",label="value"}
			quoted, _ := bytes.CutPrefix(name, []byte(`{"`))
			name, _, _ = bytes.Cut(quoted, []byte(`"`))
		default:
			if end := bytes.IndexAny(name, "{ \t\r\n"); end >= 0 {
				name = name[:end]
			}
		}
		s := SignOf(string(name))
		if s == Requests && (bytes.Contains(line, []byte(`source_workload="unknown"`)) ||
			bytes.Contains(line, []byte(`destination_workload="unknown"`))) {
			s |= Unknown
		}
		all |= s
	}
	return all
}

// Has reports whether the page has metrics of one of the kinds.
func (s Signs) Has(kinds Signs) bool { return s&kinds != 0 }

// Class says what a page is.
type Class string

// The classes.
const (
	ClassIstio Class = "istio" // it has Istio's metrics of requests
	ClassTCP   Class = "tcp"   // of Istio's metrics it has only those of TCP
	ClassIdle  Class = "idle"  // it is a part of Istio that shows no traffic
	ClassEnvoy Class = "envoy" // it is an Envoy's, without any of Istio's metrics
	ClassOther Class = "other" // it is not an Envoy's
	ClassEmpty Class = "empty" // it has no metrics, or it is not known
)

// Class returns what a page with these kinds of metrics is.
func (s Signs) Class() Class {
	switch {
	case s == 0:
		return ClassEmpty
	case s.Has(Requests | HTTP):
		return ClassIstio
	case s.Has(TCP):
		return ClassTCP
	case s.Has(Agent | Istio):
		return ClassIdle
	case s.Has(Envoy):
		return ClassEnvoy
	default:
		return ClassOther
	}
}

// IsMerged reports whether the page is the one that pilot-agent serves on port 15020: its own metrics, those of Envoy
// and those of the application.
func (s Signs) IsMerged() bool { return s.Has(Agent) }

// WhyNoRequests returns the likeliest reason why a page lacks Istio's metrics of requests, and what to do: a clause
// that begins in lower case and has no full stop. It is empty if the page has them or if it has no metrics.
func (s Signs) WhyNoRequests() string {
	switch s.Class() {
	case ClassTCP:
		if !s.Has(Envoy | Agent) {
			return "the page counts TCP connections only and is not an Envoy's; ztunnel's is like that, and " +
				"waypoints count the requests"
		}
		return "Istio takes the traffic for TCP, as it should for a database; if it is HTTP or gRPC, name the " +
			"Service's port http-… or grpc-…, or set its appProtocol"
	case ClassIdle:
		return "this is a part of Istio, but it shows no traffic; send a request through it and look again"
	case ClassEnvoy:
		return "this is an Envoy, but it shows none of Istio's metrics; either nothing went through it yet, or " +
			"Istio's telemetry is off for it (Telemetry resources of its namespace and of istio-system)"
	case ClassOther:
		return "it does not look like the page of an Envoy; Istio's have the port 15090 and the path /stats/prometheus"
	default:
		return ""
	}
}
