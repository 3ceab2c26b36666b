package cost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// Limits of what dashboards and rules may name.
const (
	MaxUsageFile = 32 << 20 // bytes of a file
	maxNames     = 20_000
	maxPatterns  = 200
	maxPattern   = 64 << 10 // bytes of all patterns together
	maxRepeat    = 20       // of a part of a pattern: x{20}, or (x{4}){5}
	maxProblems  = 50
)

// Usage is what dashboards and rules use.
type Usage struct {
	Files    []string // names, for people
	Names    []string // of metrics
	Patterns []string // regular expressions of names, anchored: of matchers of __name__, and of names with a variable
	Labels   []string
	Recorded []string // names that recording rules make: no target need show them
	Problems []string // expressions that could not be read, with their place
	exprs    int
}

// ParseUsage adds what a file uses: a Grafana dashboard (JSON, also as the API wraps it), Prometheus' rules, a
// PrometheusRule, or a ConfigMap with such files. The error says in one sentence why the file is none of these, and
// what to give instead.
func (u *Usage) ParseUsage(file string, content []byte) error {
	if len(content) > MaxUsageFile {
		return fmt.Errorf("%s is larger than %s: give a dashboard or rules", file, size(MaxUsageFile))
	}
	before := u.exprs + len(u.Problems)
	start := bytes.TrimSpace(bytes.TrimPrefix(content, []byte("\ufeff")))
	switch {
	case len(start) == 0:
		return fmt.Errorf("%s is empty: give a dashboard (in Grafana: Export, JSON) or a file of rules", file)
	case start[0] == '<':
		return fmt.Errorf("%s is a web page, not a dashboard: give the JSON that Grafana exports", file)
	case bytes.IndexByte(start, 0) >= 0:
		return fmt.Errorf("%s is not text: give a dashboard (in Grafana: Export, JSON) or a file of rules", file)
	case start[0] == '{' || start[0] == '[':
		var doc any
		if err := json.Unmarshal(start, &doc); err != nil {
			return fmt.Errorf("%s begins like JSON, but: %w", file, err)
		}
		u.walk(file, "", doc, 0)
	default:
		dec := yaml.NewDecoder(bytes.NewReader(start))
		for {
			var doc any
			err := dec.Decode(&doc)
			if err != nil && errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("%s is neither JSON nor YAML: %w", file, err)
			}
			u.walk(file, "", doc, 0)
		}
	}
	if u.exprs+len(u.Problems) == before {
		return fmt.Errorf("%s is no dashboard and has no rules: nothing in it has a field expr with PromQL", file)
	}
	u.Files = append(u.Files, file)
	return nil
}

// maxDepth is how deep a document may be nested.
const maxDepth = 100

// walk looks for expressions in a document, whatever its form: classic rows, panels, panels in rows, variables, the new
// schema, groups of rules.
func (u *Usage) walk(file, where string, node any, depth int) {
	if depth > maxDepth {
		return
	}
	switch node := node.(type) {
	case []any:
		for _, n := range node {
			u.walk(file, where, n, depth+1)
		}
	case map[string]any:
		for _, key := range []string{"title", "alert", "record", "name"} {
			if text, ok := node[key].(string); ok && text != "" {
				where = text
				break
			}
		}
		if text, ok := node["record"].(string); ok && node["expr"] != nil {
			u.Recorded = appendNew(u.Recorded, text)
		}
		for key, value := range node {
			text, isText := value.(string)
			if !isText {
				u.walk(file, where, value, depth+1)
				continue
			}
			u.text(file, where, key, text, node, depth)
		}
	}
}

// text takes a text of a document by the name of its field.
func (u *Usage) text(file, where, key, text string, parent map[string]any, depth int) {
	switch key {
	case "expr":
		if !ofOtherSource(parent) {
			u.expr(file, where, text)
		}
	case "query", "definition":
		if !ofOtherSource(parent) {
			u.variable(file, where, text, parent)
		}
	case "legendFormat":
		for _, m := range regexp.MustCompile(`\{\{\s*([\w.]+)\s*\}\}`).FindAllStringSubmatch(text, -1) {
			u.addLabels(m[1])
		}
	default:
		if strings.HasSuffix(key, ".json") { // of a ConfigMap
			var doc any
			if json.Unmarshal([]byte(text), &doc) == nil {
				u.walk(file, key, doc, depth+1)
			}
		}
		if strings.HasSuffix(key, ".yml") || strings.HasSuffix(key, ".yaml") {
			var doc any
			if yaml.Unmarshal([]byte(text), &doc) == nil {
				u.walk(file, key, doc, depth+1)
			}
		}
	}
}

// ofOtherSource reports whether a query is for a data source that does not speak PromQL.
func ofOtherSource(query map[string]any) bool {
	source, _ := query["datasource"].(map[string]any)
	kind, _ := source["type"].(string)
	return slices.Contains([]string{"loki", "tempo", "elasticsearch", "influxdb", "graphite", "jaeger", "zipkin"}, kind)
}

// variable takes the query of a variable: label_values(METRIC, LABEL), label_values(LABEL), query_result(EXPR),
// metrics(REGEX) or label_names(), or PromQL, as in the queries of some panels. Other texts in such fields are names of
// data sources, lists and the like.
func (u *Usage) variable(file, where, text string, parent map[string]any) {
	function, rest, _ := strings.Cut(strings.TrimSpace(text), "(")
	arguments, isCall := strings.CutSuffix(rest, ")")
	if !isCall {
		function = ""
	}
	switch strings.TrimSpace(function) {
	case "label_values":
		i := strings.LastIndexByte(arguments, ',')
		if i >= 0 && !strings.ContainsAny(arguments[i:], `{}"`) {
			u.expr(file, where, arguments[:i])
		}
		u.addLabels(strings.TrimSpace(arguments[i+1:]))
		u.exprs++
	case "query_result":
		u.expr(file, where, arguments)
	case "metrics":
		u.pattern(strings.TrimSpace(arguments))
		u.exprs++
	case "label_names":
	default:
		if parent["type"] != "adhoc" && parent["refId"] != nil && looksLikeQuery(text) {
			u.expr(file, where, text)
		}
	}
}

// looksLikeQuery reports whether a text is PromQL rather than the name of a data source or a list of values.
func looksLikeQuery(text string) bool { return strings.ContainsAny(text, "{[(") }

// expr takes an expression.
func (u *Usage) expr(file, where, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	e, err := parseFilled(text)
	if err != nil {
		if len(u.Problems) < maxProblems {
			u.Problems = appendNew(u.Problems, fmt.Sprintf("%s, %.80s: %.120s: %v", file, where, text, err))
		}
		return
	}
	u.exprs++
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			u.selector(n.LabelMatchers)
		case *parser.AggregateExpr:
			u.addLabels(n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				u.addLabels(n.VectorMatching.MatchingLabels...)
				u.addLabels(n.VectorMatching.Include...)
			}
		case *parser.Call:
			u.call(n)
		}
		return nil
	})
}

// selector takes the matchers of a selector. A selector without a name uses every metric that its other matchers let
// through, which may be any.
func (u *Usage) selector(matchers []*labels.Matcher) {
	named := false
	for _, m := range matchers {
		if m.Name != model.MetricNameLabel {
			u.addLabels(m.Name)
			continue
		}
		switch m.Type {
		case labels.MatchEqual:
			named = true
			u.name(m.Value)
		case labels.MatchRegexp:
			named = true
			u.pattern(strings.ReplaceAll(m.Value, variableMark, ".*"))
		}
	}
	if !named {
		u.pattern(everything)
	}
}

// name takes the name of a metric, in which variables are marked.
func (u *Usage) name(name string) {
	if !strings.Contains(name, variableMark) {
		if len(u.Names) >= maxNames && !slices.Contains(u.Names, name) {
			u.pattern(everything) // rather too much than too little
			return
		}
		u.Names = appendNew(u.Names, name)
		return
	}
	parts := strings.Split(name, variableMark)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	u.pattern(strings.Join(parts, ".*"))
}

func (u *Usage) pattern(p string) {
	_, err := compile(p)
	if err != nil || len(u.Patterns) >= maxPatterns || bytesOf(u.Patterns)+len(p) > maxPattern-len(everything) {
		p = everything // rather too much than too little
	}
	u.Patterns = appendNew(u.Patterns, p)
}

// everything is the pattern of all names.
const everything = ".+"

// compile compiles a pattern of names. It refuses one that would take far more memory than it has bytes.
func compile(p string) (*regexp.Regexp, error) {
	if strings.Contains(p, `\p`) || strings.Contains(p, `\P`) {
		return nil, errors.New("classes of Unicode are too large: name the letters, such as [a-z]")
	}
	p = "^(?s:" + p + ")$"
	parsed, err := syntax.Parse(p, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if repeats(parsed) > maxRepeat {
		return nil, fmt.Errorf("a part of it is repeated more than %d times: write * or +", maxRepeat)
	}
	return regexp.Compile(p)
}

// repeats returns how often compiling writes a part of a pattern out, at most: 6 for a(b{2}){1,3}.
func repeats(re *syntax.Regexp) int {
	most := 1
	for _, sub := range re.Sub {
		most = max(most, repeats(sub))
	}
	if re.Op == syntax.OpRepeat {
		most *= max(re.Min, re.Max, 1)
	}
	return most
}

func bytesOf(texts []string) (n int) {
	for _, text := range texts {
		n += len(text)
	}
	return n
}

// call takes the labels that functions read.
func (u *Usage) call(c *parser.Call) {
	text := func(i int) {
		if i < len(c.Args) {
			if s, ok := c.Args[i].(*parser.StringLiteral); ok {
				u.addLabels(s.Val)
			}
		}
	}
	switch c.Func.Name {
	case "label_replace":
		text(3)
	case "label_join":
		for i := 3; i < len(c.Args); i++ {
			text(i)
		}
	case "sort_by_label", "sort_by_label_desc":
		for i := 1; i < len(c.Args); i++ {
			text(i)
		}
	case "histogram_quantile":
		u.addLabels(model.BucketLabel)
	}
}

func (u *Usage) addLabels(names ...string) {
	for _, name := range names {
		if !strings.Contains(name, variableMark) && len(u.Labels) < maxNames {
			u.Labels = appendNew(u.Labels, name)
		}
	}
}

// appendNew appends a text that the list does not have.
func appendNew(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// sources begins a sentence that says how much is used.
func (u *Usage) sources() string {
	if len(u.Files) == 1 {
		return u.Files[0] + " uses"
	}
	return fmt.Sprintf("%d files use", len(u.Files))
}

// Values returns the usage as parameters of a form, for another process.
func (u *Usage) Values() url.Values {
	return url.Values{"used_file": u.Files, "used": u.Names, "used_pattern": u.Patterns, "used_label": u.Labels,
		"used_recorded": u.Recorded, "used_problem": u.Problems}
}

// usageOf reads what Values has written; nil: no file was named. matcher checks the patterns.
func usageOf(v url.Values) (*Usage, error) {
	if len(v["used_file"]) == 0 {
		return nil, nil
	}
	u := &Usage{Files: v["used_file"], Names: v["used"], Patterns: v["used_pattern"], Labels: v["used_label"],
		Recorded: v["used_recorded"], Problems: v["used_problem"]}
	if max(len(u.Names), len(u.Recorded), len(u.Labels)) > maxNames || len(u.Patterns) > maxPatterns+1 {
		return nil, fmt.Errorf("used, used_pattern: at most %d names and %d patterns", maxNames, maxPatterns)
	}
	if bytesOf(u.Patterns) > maxPattern {
		return nil, fmt.Errorf("used_pattern: at most %s of patterns", size(maxPattern))
	}
	return u, nil
}

// usageMatcher says of a metric whether it is used, and remembers what it has met.
type usageMatcher struct {
	names    map[string]bool // true: a target shows it
	patterns []*regexp.Regexp
	met      []bool // by pattern
}

// matcher compiles the patterns. It returns nil if u is nil.
func (u *Usage) matcher() (*usageMatcher, error) {
	if u == nil {
		return nil, nil
	}
	m := &usageMatcher{names: make(map[string]bool, len(u.Names)), met: make([]bool, len(u.Patterns))}
	for _, name := range u.Names {
		m.names[name] = false
	}
	for _, name := range append(reported(), u.Recorded...) { // no target need show these
		if _, used := m.names[name]; used {
			m.names[name] = true
		}
	}
	for _, p := range u.Patterns {
		re, err := compile(p)
		if err != nil {
			return nil, fmt.Errorf("used_pattern=%.80q: %w", p, err)
		}
		m.patterns = append(m.patterns, re)
	}
	return m, nil
}

func (m *usageMatcher) matches(name string) (used bool) {
	if _, used = m.names[name]; used {
		m.names[name] = true
	}
	for i, re := range m.patterns {
		if used && m.met[i] {
			continue
		}
		if re.MatchString(name) {
			m.met[i], used = true, true
		}
	}
	return used
}

// missing returns the names and patterns that no metric has matched, sorted.
func (m *usageMatcher) missing() []string {
	missing := []string{}
	for name, met := range m.names {
		if !met {
			missing = append(missing, name)
		}
	}
	for i, met := range m.met {
		if !met {
			missing = append(missing, m.patterns[i].String())
		}
	}
	slices.Sort(missing)
	return missing[:min(len(missing), maxNamed)]
}

// reported are the series that envoy-scraper makes for each target. No page has them, and no rule drops them.
func reported() []string {
	return []string{"up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
		"scrape_series_added", "scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"}
}
