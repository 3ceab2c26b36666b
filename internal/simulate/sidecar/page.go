package sidecar

import (
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
)

// Series is one series of a page. It is immutable. A series that vanishes and comes back has another Series.
type Series struct {
	Name   string
	Labels labels.Labels // with the name, as Prometheus' parser gives them
}

// Sample is a series with its value on a page.
type Sample struct {
	Series *Series
	Value  float64
}

type kind uint8

const (
	counter kind = iota
	gauge
	histogram
)

// family is all lines under one TYPE.
type family struct {
	name     string
	statName string // the name of the stat in Envoy, on which a filter looks
	kind     kind
	stats    []*stat // in the order in which they appeared
}

// appendHeader appends the line before the family's samples.
func (f *family) appendHeader(b []byte, openMetrics bool) []byte {
	name, typ := f.name, [...]string{"counter", "gauge", "histogram"}[f.kind]
	if openMetrics && f.kind == counter {
		base, ok := strings.CutSuffix(name, "_total")
		if name = base; !ok {
			typ = "unknown" // OpenMetrics has no counter of that name
		}
	}
	b = append(append(b, "# TYPE "...), name...)
	return append(append(append(b, ' '), typ...), '\n')
}

// stat is what Envoy counts: one line of a counter or gauge, several of a histogram.
type stat struct {
	peer    int // -1: the stat belongs to none
	lines   []line
	pace    float64 // of a counter: mean growth per second
	value   int64   // of a counter or gauge
	buckets []int64 // of a histogram: not cumulative
	sum     float64 // of a histogram: sum of the observed values, in ms
}

// line is a line of a page without its number.
type line struct {
	text   string // such as `envoy_server_live{} `
	series *Series
}

// bounds are the upper bounds of a histogram's buckets.
var bounds = [...]string{"1", "5", "10", "50", "100", "500", "1000", "+Inf"}

// fixedFamilies are the stats that belong to no peer, each with its name in Envoy and its labels. One has a label
// without a value, and one has a label that targets have, too.
var fixedFamilies = [...]struct {
	name, statName, labels string
	kind                   kind
}{
	{"envoy_cluster_upstream_cx_active", "cluster.xds-grpc.upstream_cx_active", `cluster_name="xds-grpc"`, gauge},
	{"envoy_cluster_upstream_rq_total", "cluster.xds-grpc.upstream_rq_total", `cluster_name="xds-grpc",zone=""`, counter},
	{"envoy_server_live", "server.live", "", gauge},
	{"envoy_server_memory_allocated", "server.memory_allocated", "", gauge},
	{"envoy_server_total_connections", "server.total_connections", "", gauge},
	{"envoy_server_uptime", "server.uptime", "", gauge},
	{"istio_build", "istiocustom.istio_build", `app="istiod",component="proxy",tag="1.24.2"`, gauge},
}

// seriesOfPeer is how many series a peer brings.
const seriesOfPeer = 4 + len(bounds) + 2

// peerNames is how many names of peers there are. A name is used again after all others.
const peerNames = 40

// model is the state of a page. Envoy.mu guards it.
type model struct {
	options  Options
	rnd      *rand.Rand
	families []*family // sorted by name
	peers    []int     // oldest first
	nextPeer int
	started  time.Time // when the process began
	at       time.Time // of the last page
	series   int
}

func newModel(o Options) *model {
	rnd := chance.Seeded(o.Seed).Of("sidecar " + o.Namespace + "/" + o.Pod).Rand()
	m := &model{options: o, rnd: rnd, nextPeer: int(spread(o.Pod))}
	m.started = time.Now()
	m.at = m.started
	for _, f := range fixedFamilies {
		m.families = append(m.families, &family{name: f.name, statName: f.statName, kind: f.kind})
		m.add(f.name, -1, f.labels)
	}
	for _, f := range []family{
		{name: "istio_request_duration_milliseconds", kind: histogram}, {name: "istio_requests_total", kind: counter},
		{name: "istio_tcp_received_bytes_total", kind: counter}, {name: "istio_tcp_sent_bytes_total", kind: counter},
	} {
		f.statName = "istiocustom." + f.name
		m.families = append(m.families, &f)
	}
	m.grow(max(1, (o.Series-len(fixedFamilies)+seriesOfPeer/2)/seriesOfPeer))
	return m
}

// spread returns a number that depends on a name.
func spread(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return h.Sum32() % peerNames
}

// add adds a stat to a family.
func (m *model) add(name string, peer int, labels string) {
	for _, f := range m.families {
		if f.name != name {
			continue
		}
		s := &stat{peer: peer, pace: m.rnd.Float64() * 50}
		if f.kind != histogram {
			s.lines = []line{{text: name + "{" + labels + "} "}}
		} else {
			s.buckets = make([]int64, len(bounds))
			for _, le := range bounds {
				s.lines = append(s.lines, line{text: name + "_bucket{" + labels + `,le="` + le + `"} `})
			}
			for _, suffix := range []string{"_sum{", "_count{"} {
				s.lines = append(s.lines, line{text: name + suffix + labels + "} "})
			}
		}
		learn(f, s.lines)
		m.series += len(s.lines)
		f.stats = append(f.stats, s)
		s.begin(f)
	}
}

// begin sets what a process begins with.
func (s *stat) begin(f *family) {
	s.value, s.sum = 0, 0
	clear(s.buckets)
	if f.kind == gauge {
		s.value = 1
	}
}

// learn sets the series of a family's lines to what Prometheus' parser finds.
func learn(f *family, lines []line) {
	page := f.appendHeader(nil, false)
	for _, l := range lines {
		page = append(append(page, l.text...), "0\n"...)
	}
	p := textparse.NewPromParser(page, labels.NewSymbolTable(), false)
	for i := 0; i < len(lines); {
		entry, err := p.Next()
		if err != nil {
			panic(fmt.Sprintf("sidecar: the parser stops at line %d of %q: %v", i, page, err))
		}
		if entry == textparse.EntrySeries {
			s := &Series{}
			p.Labels(&s.Labels)
			s.Name = s.Labels.Get("__name__")
			lines[i].series = s
			i++
		}
	}
	if _, err := p.Next(); err != io.EOF {
		panic(fmt.Sprintf("sidecar: %q has more series than lines", page))
	}
}

// grow adds peers that are not on the page, if there are names left.
func (m *model) grow(peers int) {
	for range min(peers, peerNames-len(m.peers)) {
		for slices.Contains(m.peers, m.nextPeer%peerNames) {
			m.nextPeer++
		}
		peer := m.nextPeer % peerNames
		m.nextPeer++
		m.peers = append(m.peers, peer)
		common := m.labelsOf(peer)
		m.add("istio_request_duration_milliseconds", peer, common)
		m.add("istio_requests_total", peer, common+`,response_code="200"`)
		m.add("istio_requests_total", peer, common+`,response_code="503"`)
		m.add("istio_tcp_received_bytes_total", peer, common)
		m.add("istio_tcp_sent_bytes_total", peer, common)
	}
}

// labelsOf returns the labels that all stats of a peer have. Some values need escapes.
func (m *model) labelsOf(peer int) string {
	app := fmt.Sprintf("peer-%d", peer)
	if peer%8 == 7 {
		app = `a \"quoted\" näme \\ with\nlines`
	}
	o := m.options
	return fmt.Sprintf(`reporter="destination",`+
		`source_workload="peer-%d",source_workload_namespace="shop",source_app="%s",`+
		`destination_workload="%s",destination_workload_namespace="%s",destination_service="%s.%s.svc.cluster.local",`+
		`request_protocol="http",response_flags="-",connection_security_policy="mutual_tls"`,
		peer, app, o.Workload, o.Namespace, o.Workload, o.Namespace)
}

// shrink removes the oldest peers.
func (m *model) shrink(peers int) {
	peers = min(peers, len(m.peers))
	gone := m.peers[:peers]
	m.peers = m.peers[peers:]
	for _, f := range m.families {
		f.stats = slices.DeleteFunc(f.stats, func(s *stat) bool {
			if !slices.Contains(gone, s.peer) {
				return false
			}
			m.series -= len(s.lines)
			return true
		})
	}
}

// restart sets all stats to their first values.
func (m *model) restart() {
	m.started = time.Now()
	m.at = m.started
	for _, f := range m.families {
		for _, s := range f.stats {
			s.begin(f)
		}
	}
}

// advance moves all stats forward to now.
func (m *model) advance() {
	now := time.Now()
	seconds := now.Sub(m.at).Seconds()
	m.at = now
	for _, f := range m.families {
		for _, s := range f.stats {
			switch f.kind {
			case counter:
				s.value += int64(m.rnd.Float64() * 2 * s.pace * seconds)
			case histogram:
				most := uint32(min(s.pace*seconds, 1<<20)) + 1
				for i := range s.buckets {
					more := m.rnd.Uint32N(most)
					s.buckets[i] += int64(more)
					s.sum += float64(more) * (float64(i) + 0.1)
				}
			}
		}
	}
	for i, f := range m.families[:len(fixedFamilies)] {
		switch s := f.stats[0]; fixedFamilies[i].name {
		case "envoy_server_uptime":
			s.value = int64(now.Sub(m.started).Seconds())
		case "envoy_server_memory_allocated":
			s.value = 8<<20 + m.rnd.Int64N(4<<20)
		case "envoy_server_total_connections":
			s.value = m.rnd.Int64N(100)
		case "envoy_cluster_upstream_cx_active":
			s.value = m.rnd.Int64N(3)
		}
	}
}

// appendPage appends the lines of the page to b, and their samples to samples. A filter that is not nil leaves out
// stats in whose names it finds nothing.
func (m *model) appendPage(b []byte, samples []Sample, openMetrics bool, filter *regexp.Regexp) ([]byte, []Sample) {
	for _, f := range m.families {
		if len(f.stats) == 0 || filter != nil && !filter.MatchString(f.statName) {
			continue
		}
		b = f.appendHeader(b, openMetrics)
		for _, s := range f.stats {
			if f.kind != histogram {
				b, samples = appendLine(b, samples, &s.lines[0], s.value)
				continue
			}
			total := int64(0)
			for i, n := range s.buckets {
				total += n
				b, samples = appendLine(b, samples, &s.lines[i], total)
			}
			sum := &s.lines[len(bounds)]
			b = append(strconv.AppendFloat(append(b, sum.text...), s.sum, 'g', -1, 64), '\n')
			samples = append(samples, Sample{sum.series, s.sum})
			b, samples = appendLine(b, samples, &s.lines[len(bounds)+1], total)
		}
	}
	if openMetrics {
		b = append(b, "# EOF\n"...)
	}
	return b, samples
}

func appendLine(b []byte, samples []Sample, l *line, value int64) ([]byte, []Sample) {
	b = append(strconv.AppendInt(append(b, l.text...), min(value, math.MaxInt64>>11), 10), '\n')
	return b, append(samples, Sample{l.series, float64(value)})
}
