package fleet

import (
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// maxFilters is how many filters are remembered. An agent has one for each job.
const maxFilters = 16

// filters remembers what each filter finds, so that a filtered page costs the fleet no more than a copy of its lines.
type filters struct {
	mu     sync.Mutex // guards byText
	byText map[string]*filter
}

// filter is the parameter filter of a request.
type filter struct {
	re *regexp.Regexp

	mu       sync.Mutex // guards selected
	selected map[*template]*selection
}

// selection is what a filter finds on the pages of a workload. A tag that churn changes does not matter to it: the raw
// names are those of the beginning.
type selection struct {
	blocks []selectedBlock
	rows   int
}

// selectedBlock is a family with the units that the filter finds: from the first to the last one of each run.
type selectedBlock struct {
	head string
	runs [][2]int32
}

// filterIn returns the text of the first parameter filter. As for Envoy, + is no blank.
func filterIn(query string) string {
	for pair := range strings.SplitSeq(query, "&") {
		if text, ok := strings.CutPrefix(pair, "filter="); ok {
			if plain, err := url.PathUnescape(text); err == nil {
				return plain
			}
			return text
		}
	}
	return ""
}

// get returns the filter of a text, or an error if it is not an expression.
func (fs *filters) get(text string) (*filter, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.byText[text]; f != nil {
		return f, nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	f := &filter{re: re, selected: map[*template]*selection{}}
	if len(fs.byText) < maxFilters {
		fs.byText[text] = f
	}
	return f, nil
}

// of returns what the filter finds on the pages of a template.
func (f *filter) of(t *template) *selection {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.selected[t]
	if s == nil {
		s = t.selectBy(f.re)
		f.selected[t] = s
	}
	return s
}

func (t *template) selectBy(re *regexp.Regexp) *selection {
	s := &selection{}
	for _, b := range t.blocks {
		found := selectedBlock{head: b.head}
		previous := false
		for _, u := range b.units {
			if !re.MatchString(t.raw[u]) {
				previous = false
				continue
			}
			s.rows += int(t.units[u].rows)
			if previous {
				found.runs[len(found.runs)-1][1] = u
			} else {
				found.runs = append(found.runs, [2]int32{u, u})
			}
			previous = true
		}
		if found.runs != nil {
			s.blocks = append(s.blocks, found)
		}
	}
	return s
}

// filtered returns the lines that a filter finds. They are valid until the page is used again.
func (p *page) filtered(s *selection) []byte {
	out := p.shuffled[:0]
	for _, b := range s.blocks {
		out = append(out, b.head...)
		for _, run := range b.runs {
			out = append(out, p.buf[p.from[run[0]]:p.to[run[1]]]...)
		}
		if p.form.BlankLines {
			out = append(out, '\n')
		}
	}
	p.shuffled = out
	return out
}

// rawName returns the name that Envoy matches a filter against:
//
//	istio_requests_total{reporter="source",source_app="a"}
//	istiocustom.istio_requests_total.reporter.source.source_app.a
//
//	envoy_cluster_version{cluster_name="outbound|80||a"}
//	cluster.outbound|80||a.version
//
//	envoy_server_uptime{}
//	server.uptime
func rawName(family, labels string) string {
	name, isEnvoys := strings.CutPrefix(family, "envoy_")
	if !isEnvoys {
		return "istiocustom." + family + "." + strings.NewReplacer(`="`, ".", `",`, ".", `"`, "").Replace(labels)
	}
	if cluster, ok := strings.CutPrefix(labels, `cluster_name="`); ok {
		return "cluster." + strings.TrimSuffix(cluster, `"`) + "." + strings.TrimPrefix(name, "cluster_")
	}
	for _, scope := range []string{"cluster_manager", "listener_manager", "server"} {
		if rest, ok := strings.CutPrefix(name, scope+"_"); ok {
			return scope + "." + rest
		}
	}
	return name
}

// Kept returns how many series all pages have whose names match, and the share of the bytes that they are of the first
// sidecar's page. The expression has to match the whole name, as in metric_relabel_configs.
func (c Config) Kept(keep string) (series int, bytes float64, err error) {
	re, err := regexp.Compile("^(?s:" + keep + ")$")
	if err != nil {
		return 0, 0, err
	}
	for n := 0; n < c.Targets; n += c.Replicas {
		t := newTemplate(c.firstService(n/c.Replicas), c.Series, c.Page)
		rows, text, all := 0, 0, 0
		for _, r := range t.rows {
			name, _, _ := strings.Cut(r.text, "{")
			all += len(r.text)
			if re.MatchString(name) {
				rows, text = rows+1, text+len(r.text)
			}
		}
		series += rows * min(c.Replicas, c.Targets-n)
		if n == 0 {
			bytes = float64(text) / float64(all)
		}
	}
	return series, bytes, nil
}
