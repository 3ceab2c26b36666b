package mesh

import (
	"math"
	"strconv"
)

// answer is a workload's response to one request.
type answer struct {
	status int
	millis float64 // time in the workload, including calls to other workloads
	bytes  float64 // size of the response
}

// visit simulates one request from the ingress gateway through the mesh.
func (m *Mesh) visit() {
	r := &m.roles
	if m.rng.Float64() < 0.02 { // 404: productpage calls no other workload
		m.hop(r.gateway, r.productpage, answer{404, m.spend(2), 232})
		return
	}
	details := m.hop(r.productpage, r.details, answer{200, m.spend(3), 178})
	reviews := m.hop(r.productpage, r.reviews[m.rng.IntN(len(r.reviews))], answer{})
	m.hop(r.gateway, r.productpage, answer{200, m.spend(12) + details + reviews,
		4183 + math.Floor(m.rng.Float64()*1500)})
}

// hop counts one request between two workloads on both sides and returns how long the source waited. If a has no
// status, the destination is a reviews pod, which determines its own answer.
func (m *Mesh) hop(from, to *proxy, a answer) (millis float64) {
	if a.status == 0 {
		a = m.review(to)
	}
	requestBytes := 590 + math.Floor(m.rng.Float64()*400)
	waited := a.millis + 0.3 + m.rng.Float64()
	isNew := m.rng.IntN(40) == 0 // otherwise an idle connection is used

	from.outbound(to, a, requestBytes, waited, isNew)
	to.inbound(from, a, requestBytes, isNew)
	return waited
}

// review simulates a reviews pod: v1 returns only its texts, v2 and v3 call ratings for the stars.
func (m *Mesh) review(to *proxy) answer {
	if to == m.roles.reviews[0] {
		return answer{200, m.spend(5), 295}
	}
	stars := answer{200, m.spend(2), 48}
	if m.rng.Float64() < 0.01 { // the page is then shown without stars
		stars = answer{500, m.spend(20), 67}
	}
	m.roles.ratings.query(m.rng.IntN(50) == 0)
	waited := m.hop(to, m.roles.ratings, stars)
	return answer{200, m.spend(5) + waited, 375}
}

// spend returns a random duration in milliseconds, usually near the median and sometimes far above.
func (m *Mesh) spend(median float64) float64 {
	return median * math.Exp(m.rng.NormFloat64()*0.6)
}

// outbound counts a request in the source's proxy.
func (p *proxy) outbound(to *proxy, a answer, requestBytes, waited float64, isNew bool) {
	p.standard(p.httpLabels("source", &p.sidecar, &to.sidecar, a.status), a, requestBytes, waited)
	p.upstream("outbound|"+strconv.Itoa(appPort)+"||"+to.sidecar.host(), a, requestBytes, isNew)
	if p.sidecar.App == "" {
		p.downstream("0.0.0.0_8080", "outbound_0.0.0.0_8080;", a, isNew)
	}
}

// inbound counts a request in the destination's proxy.
func (p *proxy) inbound(from *proxy, a answer, requestBytes float64, isNew bool) {
	p.standard(p.httpLabels("destination", &from.sidecar, &p.sidecar, a.status), a, requestBytes, a.millis)
	p.upstream("inbound|"+strconv.Itoa(appPort)+"||", a, requestBytes, isNew)
	p.downstream("0.0.0.0_15006", "inbound_0.0.0.0_"+strconv.Itoa(appPort)+";", a, isNew)
}

// standard counts one request in Istio's standard metrics.
func (p *proxy) standard(labels string, a answer, requestBytes, millis float64) {
	p.stats.counter("istio_requests_total", labels).add(1)
	p.stats.histogram("istio_request_duration_milliseconds", labels).observe(roundMillis(millis))
	p.stats.histogram("istio_request_bytes", labels).observe(requestBytes)
	p.stats.histogram("istio_response_bytes", labels).observe(a.bytes)
}

// query counts a request of ratings to its database. The database has no sidecar, so only the source reports it, with
// few labels.
func (p *proxy) query(isNew bool) {
	labels := p.tcpLabels()
	opened := p.stats.counter("istio_tcp_connections_opened_total", labels)
	closed := p.stats.counter("istio_tcp_connections_closed_total", labels)
	if isNew {
		opened.add(1)
		if opened.value > 4 {
			closed.add(1)
		}
	}
	p.stats.counter("istio_tcp_sent_bytes_total", labels).add(212)
	p.stats.counter("istio_tcp_received_bytes_total", labels).add(897)
}

// roundMillis rounds to two digits, the precision of Envoy's histograms, so that sums look like Envoy's.
func roundMillis(v float64) float64 {
	if v < 10 {
		return math.Round(v*10)/10 + 0.05
	}
	scale := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Round(v/scale)*scale + scale/2
}
