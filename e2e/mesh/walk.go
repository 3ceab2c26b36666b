package mesh

import (
	"math"
	"slices"
	"strconv"
)

// answer is a workload's response to one request.
type answer struct {
	status int
	millis float64 // time in the workload, including calls to other workloads
	bytes  float64 // size of the response
}

// pick returns the replica that a request goes to.
func (m *Mesh) pick(replicas []*proxy) *proxy {
	if len(replicas) == 1 {
		return replicas[0]
	}
	return replicas[m.rng.IntN(len(replicas))]
}

// visit simulates one request from the ingress gateway through the mesh.
func (m *Mesh) visit() {
	r := &m.roles
	gateway, productpage := m.pick(r.gateway), m.pick(r.productpage)
	if m.rng.Float64() < 0.02 { // 404: productpage calls no other workload
		m.hop(gateway, productpage, answer{404, m.spend(2), 232})
		return
	}
	details := m.hop(productpage, m.pick(r.details), answer{200, m.spend(3), 178})
	if m.rng.IntN(5) == 0 {
		m.lookUp()
	}
	if m.rng.IntN(20) == 0 {
		m.backup()
	}
	reviews := m.hop(productpage, m.pick(r.reviews[m.rng.IntN(len(r.reviews))]), answer{})
	m.hop(gateway, productpage, answer{200, m.spend(12) + details + reviews,
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
	if slices.Contains(m.roles.reviews[0], to) {
		return answer{200, m.spend(5), 295}
	}
	stars := answer{200, m.spend(2), 48}
	if m.rng.Float64() < 0.01 { // the page is then shown without stars
		stars = answer{500, m.spend(20), 67}
	}
	ratings := m.pick(m.roles.ratings)
	m.query(ratings, m.rng.IntN(50) == 0)
	waited := m.hop(to, ratings, stars)
	return answer{200, m.spend(5) + waited, 375}
}

// spend returns a random duration in milliseconds, usually near the median and sometimes far above.
func (m *Mesh) spend(median float64) float64 {
	return median * math.Exp(m.rng.NormFloat64()*0.6)
}

// outbound counts a request in the source's proxy.
func (p *proxy) outbound(to *proxy, a answer, requestBytes, waited float64, isNew bool) {
	p.standard(p.labels("source", &p.sidecar, &to.sidecar, a.status), a, requestBytes, waited)
	p.upstream("outbound|"+strconv.Itoa(appPort)+"||"+to.sidecar.host(), a, requestBytes, isNew)
	if p.sidecar.App == "" {
		p.downstream("0.0.0.0_8080", "outbound_0.0.0.0_8080;", a, isNew)
	}
}

// inbound counts a request in the destination's proxy.
func (p *proxy) inbound(from *proxy, a answer, requestBytes float64, isNew bool) {
	p.standard(p.labels("destination", &from.sidecar, &p.sidecar, a.status), a, requestBytes, a.millis)
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

// exchange is what one request and its answer add to a TCP connection.
type exchange struct {
	request, response uint64 // bytes
	isNew             bool   // on a new connection
}

// query counts a request of ratings, from, to its database, which has a sidecar, so both sides report it.
func (m *Mesh) query(from *proxy, isNew bool) {
	to := m.pick(m.roles.database)
	e := exchange{request: 212, response: 897, isNew: isNew}
	from.tcp("source", &from.sidecar, &to.sidecar, e)
	from.stream("outbound|"+strconv.Itoa(databasePort)+"||"+to.sidecar.host(), e)
	to.tcp("destination", &from.sidecar, &to.sidecar, e)
	to.stream("inbound|"+strconv.Itoa(databasePort)+"||", e)
}

// lookUp counts what details asks a service outside the mesh: a request in plain HTTP, and some bytes by TLS, which the
// proxy passes on as TCP. Only the source reports it.
func (m *Mesh) lookUp() {
	p := m.pick(m.roles.details)
	a := answer{200, m.spend(40), 1320}
	p.standard(p.labels("source", &p.sidecar, nil, a.status), a, 410, a.millis)
	p.upstream("PassthroughCluster", a, 410, m.rng.IntN(10) == 0)
	p.tcp("source", &p.sidecar, nil, exchange{request: 640, response: 5210, isNew: m.rng.IntN(10) == 0})
}

// backup counts what a client without a sidecar does: it reads the details and the database, in plaintext. Only the
// destinations report it, and they do not know the source.
func (m *Mesh) backup() {
	details, database := m.pick(m.roles.details), m.pick(m.roles.database)
	a := answer{200, m.spend(3), 178}
	requestBytes := 310 + math.Floor(m.rng.Float64()*40)
	details.standard(details.labels("destination", nil, &details.sidecar, a.status), a, requestBytes, a.millis)
	details.upstream("inbound|"+strconv.Itoa(appPort)+"||", a, requestBytes, false)
	details.downstream("0.0.0.0_15006", "inbound_0.0.0.0_"+strconv.Itoa(appPort)+";", a, false)

	e := exchange{request: 96, response: 16384, isNew: m.rng.IntN(10) == 0}
	database.tcp("destination", nil, &database.sidecar, e)
	database.stream("inbound|"+strconv.Itoa(databasePort)+"||", e)
}

// tcp counts an exchange in Istio's standard metrics, in which "sent" means sent to the client. A side without a
// sidecar is nil.
func (p *proxy) tcp(reporter string, from, to *Sidecar, e exchange) {
	labels := p.labels(reporter, from, to, 0)
	opened := p.stats.counter("istio_tcp_connections_opened_total", labels)
	closed := p.stats.counter("istio_tcp_connections_closed_total", labels)
	if e.isNew || opened.value == 0 {
		opened.add(1)
		if opened.value > 4 {
			closed.add(1)
		}
	}
	p.stats.counter("istio_tcp_sent_bytes_total", labels).add(e.response)
	p.stats.counter("istio_tcp_received_bytes_total", labels).add(e.request)
}

// stream counts an exchange with an upstream cluster.
func (p *proxy) stream(cluster string, e exchange) {
	l := p.connection(cluster, e.isNew)
	p.stats.counter("envoy_cluster_upstream_cx_tx_bytes_total", l).add(e.request)
	p.stats.counter("envoy_cluster_upstream_cx_rx_bytes_total", l).add(e.response)
}

// roundMillis rounds to two digits, the precision of Envoy's histograms, so that sums look like Envoy's.
func roundMillis(v float64) float64 {
	if v < 10 {
		return math.Round(v*10)/10 + 0.05
	}
	scale := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Round(v/scale)*scale + scale/2
}
