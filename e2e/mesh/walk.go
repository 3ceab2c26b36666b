package mesh

import (
	"math"
	"strconv"
)

// answer is how a workload answered one request.
type answer struct {
	status int
	millis float64 // in the workload, what it waited for others included
	bytes  float64 // of the response
}

// visit sends one request from the ingress gateway through the mesh.
func (m *Mesh) visit() {
	r := &m.roles
	if m.rng.Float64() < 0.02 { // a page that productpage does not have: nobody else is asked
		m.hop(r.gateway, r.productpage, answer{404, m.spend(2), 232})
		return
	}
	details := m.hop(r.productpage, r.details, answer{200, m.spend(3), 178})
	reviews := m.hop(r.productpage, r.reviews[m.rng.IntN(len(r.reviews))], answer{})
	m.hop(r.gateway, r.productpage, answer{200, m.spend(12) + details + reviews, 4183 + math.Floor(m.rng.Float64()*1500)})
}

// hop records one request from one workload to another on both sides and returns how long the source waited.
// Without a status, the destination is a reviews, which decides by itself what to answer.
func (m *Mesh) hop(from, to *proxy, a answer) (millis float64) {
	if a.status == 0 {
		a = m.review(to)
	}
	requestBytes := 590 + math.Floor(m.rng.Float64()*400)
	waited := a.millis + 0.3 + m.rng.Float64()
	isNew := m.rng.IntN(40) == 0 // else a kept connection is used

	from.outbound(to, a, requestBytes, waited, isNew)
	to.inbound(from, a, requestBytes, isNew)
	return waited
}

// review is what a reviews pod does: v1 has its texts only, v2 and v3 ask ratings for the stars.
func (m *Mesh) review(to *proxy) answer {
	if to == m.roles.reviews[0] {
		return answer{200, m.spend(5), 295}
	}
	stars := answer{200, m.spend(2), 48}
	if m.rng.Float64() < 0.01 { // the page is shown without stars then
		stars = answer{500, m.spend(20), 67}
	}
	m.roles.ratings.query(m.rng.IntN(50) == 0)
	waited := m.hop(to, m.roles.ratings, stars)
	return answer{200, m.spend(5) + waited, 375}
}

// spend is a duration in milliseconds: usually near the median, now and then far above.
func (m *Mesh) spend(median float64) float64 {
	return median * math.Exp(m.rng.NormFloat64()*0.6)
}

// outbound is what the source's proxy counts.
func (p *proxy) outbound(to *proxy, a answer, requestBytes, waited float64, isNew bool) {
	p.standard(p.httpLabels("source", &p.sidecar, &to.sidecar, a.status), a, requestBytes, waited)
	p.upstream("outbound|"+strconv.Itoa(appPort)+"||"+to.sidecar.host(), a, requestBytes, isNew)
	if p.sidecar.App == "" {
		p.downstream("0.0.0.0_8080", "outbound_0.0.0.0_8080;", a, isNew)
	}
}

// inbound is what the destination's proxy counts.
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

// query is ratings asking its database, which has no sidecar: only the source reports, and knows little.
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

// roundMillis keeps the precision that Envoy's histograms have, two digits, so that sums look as theirs do.
func roundMillis(v float64) float64 {
	if v < 10 {
		return math.Round(v*10)/10 + 0.05
	}
	scale := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Round(v/scale)*scale + scale/2
}
