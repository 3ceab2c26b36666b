package fleet

import (
	"fmt"
	"sort"
	"strings"
)

type kind uint8

const (
	counter kind = iota
	gauge
	histogram
)

func (k kind) String() string { return [...]string{"counter", "gauge", "histogram"}[k] }

const histogramRows = 22 // 20 buckets, sum, count

// unit is what moves together: one scalar row, or the 22 rows of a histogram.
type unit struct {
	kind  kind
	hot   bool // has traffic: starts large and is moved first
	first int32
	rows  int32
	group int32 // churn replaces the units of a group together; -1: never
}

// row is one line of the page up to its value.
type row struct {
	text  string
	tag   int32 // where text holds the group's tag; -1: nowhere
	group int32
	sum   bool // the value is a float, printed as Envoy prints sums
}

// template is what all replicas of a workload print, without the values.
// Immutable once built; pages share it.
type template struct {
	rows   []row
	units  []unit
	raw    []string // unit -> the name that a filter is matched against
	blocks []block
	order  []int32   // units, hot ones first, each part shuffled
	groups [][]int32 // churn group -> its units
	hot    int       // how many of order are hot
	uptime int32     // row of envoy_server_uptime; -1: none

	distinct random // where form asks for it: the labels that make each row different
}

// block is what stands together on the page: a family under its TYPE line or,
// on an ungrouped page, one unit.
type block struct {
	head  string // the TYPE line; empty where it stands further up
	units []int32
}

// family collects the units that share a TYPE line before the page is laid out.
type family struct {
	name  string
	kind  kind
	units []familyUnit
}

type familyUnit struct {
	labels string // between the braces
	tag    int    // offset of the churn tag in labels, -1: none
	group  int32
	hot    bool
}

// builder adds stats until it holds exactly as many series as asked for.
type builder struct {
	families map[string]*family
	groups   int32
	series   int
}

func (b *builder) add(name string, k kind, labels string, group int32, hot bool) {
	f := b.families[name]
	if f == nil {
		f = &family{name: name, kind: k}
		b.families[name] = f
	}
	tag := -1
	if group >= 0 {
		tag = strings.Index(labels, tagged) + len(tagged) - tagWidth
	}
	f.units = append(f.units, familyUnit{labels: labels, tag: tag, group: group, hot: hot})
	if k == histogram {
		b.series += histogramRows
	} else {
		b.series++
	}
}

func (b *builder) newGroup() int32 {
	b.groups++
	return b.groups - 1
}

// tagged ends the one name of a series that churn changes; this is generation 0.
var tagged = "v1-" + string(appendTag(nil, 0))

// newTemplate lays out the page of the workload that is the first service, and
// talks to those after it: half of the series istio_*, half of them envoy_*.
func newTemplate(first, series int, form Page) *template {
	b := &builder{families: map[string]*family{}}
	b.addIstio(serviceAt(first), first+1, series/2)
	b.addEnvoy(first+1, series)
	return b.layOut(uint64(first)+1, form)
}

func (b *builder) addIstio(own service, peers, want int) {
	if want > 0 {
		b.add("istio_build", gauge, `component="proxy",tag="1.27.1"`, -1, false)
	}
	const tuple = 1 + 3*histogramRows
	peer := 0
	for ; b.series+tuple <= want; peer++ {
		group := b.newGroup()
		labels := istioLabels(own, serviceAt(peers+peer), peer, "http", responseCodes[0])
		b.add("istio_requests_total", counter, labels, group, true)
		for _, h := range istioHTTPHistograms {
			b.add(h, histogram, labels, group, true)
		}
	}
	for ; b.series+len(istioTCPCounters) <= want && peer%4 != 3; peer++ {
		group := b.newGroup()
		labels := istioLabels(own, serviceAt(peers+peer), peer, "tcp", "0")
		for _, c := range istioTCPCounters {
			b.add(c, counter, labels, group, true)
		}
	}
	for i := 0; b.series < want; i++ {
		code := responseCodes[1+i%(len(responseCodes)-1)]
		b.add("istio_requests_total", counter, istioLabels(own, serviceAt(peers+peer+i), i, "http", code), b.newGroup(),
			i%3 == 0)
	}
}

// istioLabels are the labels of Istio's standard metrics, in Istio's order.
// Even peers are called by the workload, odd ones call it.
func istioLabels(own, peer service, n int, protocol, code string) string {
	reporter, from, to := "source", own, peer
	if n%2 == 1 {
		reporter, from, to = "destination", peer, own
	}
	grpc, flags := "", "-"
	if n%3 == 2 && protocol == "http" {
		protocol, grpc = "grpc", "0"
	}
	if code == "503" {
		flags = "UF"
	}
	policy := "mutual_tls"
	if reporter == "source" {
		policy = "unknown" // a client side proxy does not know
	}
	return fmt.Sprintf(`reporter="%s",source_workload="%s-v1",source_canonical_service="%s",`+
		`source_canonical_revision="v1",`+
		`source_workload_namespace="%s",source_principal="%s",source_app="%s",source_version="v1",`+
		`destination_workload="%s-%s",destination_workload_namespace="%s",destination_principal="%s",`+
		`destination_app="%s",`+
		`destination_version="v1",destination_service="%s",destination_canonical_service="%s",`+
		`destination_canonical_revision="v1",`+
		`destination_service_name="%s",destination_service_namespace="%s",`+
		`request_protocol="%s",response_code="%s",grpc_response_status="%s",response_flags="%s",`+
		`connection_security_policy="%s"`,
		reporter, from.name, from.name, from.namespace, from.principal(), from.name,
		to.name, tagged, to.namespace, to.principal(), to.name, to.host(), to.name, to.name, to.namespace,
		protocol, code, grpc, flags, policy)
}

func (b *builder) addEnvoy(peers, want int) {
	for i, g := range globalGauges {
		if b.series < want {
			b.add(g, gauge, "", -1, i >= 5)
		}
	}
	for _, c := range globalCounters {
		if b.series < want {
			b.add(c, counter, "", -1, false)
		}
	}
	for n := 0; b.series < want; n++ {
		b.addCluster(serviceAt(peers+n), n < 3, want)
	}
}

func (b *builder) addCluster(s service, busy bool, want int) {
	group := b.newGroup()
	labels := `cluster_name="` + s.cluster(tagged) + `"`
	for _, h := range clusterHistograms {
		if b.series+histogramRows <= want {
			b.add(h, histogram, labels, group, busy && hotClusterStats[h])
		}
	}
	for _, g := range clusterGauges {
		if b.series < want {
			b.add(g, gauge, labels, group, busy && hotClusterStats[g])
		}
	}
	for _, c := range clusterCounters {
		if b.series < want {
			b.add(c, counter, labels, group, busy && hotClusterStats[c])
		}
	}
}

// layOut puts the families in Envoy's order: counters, gauges, histograms.
func (b *builder) layOut(seed uint64, form Page) *template {
	families := make([]*family, 0, len(b.families))
	for _, f := range b.families {
		families = append(families, f)
	}
	sort.Slice(families, func(i, j int) bool {
		if families[i].kind != families[j].kind {
			return families[i].kind < families[j].kind
		}
		return families[i].name < families[j].name
	})
	t := &template{groups: make([][]int32, b.groups), uptime: -1}
	if form.Distinct {
		t.distinct = random(seed)
	}
	for _, f := range families {
		t.addFamily(f)
	}
	t.shuffle(seed)
	if form.Ungrouped {
		t.ungroup(seed)
	}
	return t
}

// ungroup lays the page out as Envoy before 1.14 did: counters, gauges, histograms, each in no order at all; the TYPE
// line stands before the first of a family, and the others of it under whatever TYPE was printed last.
func (t *template) ungroup(seed uint64) {
	r := random(seed)
	var kinds [histogram + 1][]int32 // kind -> its units
	family := make([]int, len(t.units))
	for n, b := range t.blocks {
		for _, u := range b.units {
			family[u] = n
			kinds[t.units[u].kind] = append(kinds[t.units[u].kind], u)
		}
	}
	var blocks []block
	for _, units := range kinds {
		r.shuffle(units)
		for _, u := range units {
			blocks = append(blocks, block{head: t.blocks[family[u]].head, units: []int32{u}})
			t.blocks[family[u]].head = "" // printed now
		}
	}
	t.blocks = blocks
}

func (t *template) addFamily(f *family) {
	b := block{head: "# TYPE " + f.name + " " + f.kind.String() + "\n"}
	for _, u := range f.units {
		first := int32(len(t.rows))
		if f.name == uptimeName {
			t.uptime = first
		}
		if f.kind == histogram {
			for _, le := range bucketBounds {
				t.addRow(f.name+"_bucket{", u, `le="`+le+`"`, false)
			}
			t.addRow(f.name+"_sum{", u, "", true)
			t.addRow(f.name+"_count{", u, "", false)
		} else {
			t.addRow(f.name+"{", u, "", false)
		}
		if u.group >= 0 {
			t.groups[u.group] = append(t.groups[u.group], int32(len(t.units)))
		}
		b.units = append(b.units, int32(len(t.units)))
		t.raw = append(t.raw, rawName(f.name, u.labels))
		t.units = append(t.units, unit{
			kind: f.kind, hot: u.hot, first: first, rows: int32(len(t.rows)) - first, group: u.group,
		})
	}
	t.blocks = append(t.blocks, b)
}

func (t *template) addRow(name string, u familyUnit, extra string, sum bool) {
	tag := int32(-1)
	if u.tag >= 0 {
		tag = int32(len(name) + u.tag)
	}
	labels := u.labels
	if labels != "" && extra != "" {
		labels += ","
	}
	labels += extra
	if t.distinct != 0 {
		if labels != "" {
			labels += ","
		}
		labels += fmt.Sprintf(`id="%016x"`, t.distinct.next())
	}
	t.rows = append(t.rows, row{text: name + labels + "} ", tag: tag, group: u.group, sum: sum})
}

func (t *template) shuffle(seed uint64) {
	var hot, cold []int32
	for i, u := range t.units {
		if u.hot {
			hot = append(hot, int32(i))
		} else {
			cold = append(cold, int32(i))
		}
	}
	r := random(seed)
	r.shuffle(hot)
	r.shuffle(cold)
	t.hot = len(hot)
	t.order = append(hot, cold...)
}

// random is a small, seeded generator: the same fleet prints the same pages.
type random uint64

func (r *random) next() uint64 { // splitmix64
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *random) shuffle(part []int32) {
	for i := len(part) - 1; i > 0; i-- {
		j := r.below(i + 1)
		part[i], part[j] = part[j], part[i]
	}
}

func (r *random) below(n int) int { return int(r.next() % uint64(n)) }
