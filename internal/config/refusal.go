package config

import (
	"errors"
	"reflect"
	"regexp"
	"strings"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// maxShownValue is how much of a value a message repeats.
const maxShownValue = 120

// unknownField is what yaml says of a key that the type does not have.
var unknownField = regexp.MustCompile(`^field (.+) not found in type `)

// reportRefusal reports what prometheus/config said of a value.
func (l *loader) reportRefusal(p *piece, n *yaml.Node, msg string) {
	n = p.original(n)
	if l.env.broken[n] {
		return
	}
	s := p.spots[n]
	pr := Problem{Severity: SeverityError, File: p.src.name, Line: s.line, Job: p.job, Key: s.path}
	pr.Value = l.show(n, s.path)
	pr.Why, pr.Fix = l.conceal(msg, n, p), wayOut(msg)
	switch m := unknownField.FindStringSubmatch(msg); {
	case m != nil:
		pr.Why, pr.Fix = unknownKey(m[1])
	case strings.HasPrefix(msg, "cannot unmarshal !!map into []"):
		pr.Why, pr.Fix = "a mapping, where a list belongs", "begin each entry with - "
	}
	l.problems = append(l.problems, pr)
}

// show is a value as a message may repeat it: as written, without secrets, shortened.
func (l *loader) show(n *yaml.Node, path string) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	if written, ok := l.env.written[n]; ok {
		return written
	}
	if mayBeSecret(path) {
		return redacted
	}
	value := redactURL(n.Value)
	if r := []rune(value); len(r) > maxShownValue {
		value = string(r[:maxShownValue]) + "…"
	}
	return value
}

// conceal takes out of a message what must not be shown: the value of a secret, of a variable, of a URL.
func (l *loader) conceal(msg string, n *yaml.Node, p *piece) string {
	for _, m := range scalars(n) {
		shown := m.Value
		if written, ok := l.env.written[m]; ok {
			shown = written
		} else if mayBeSecret(p.spots[m].path) {
			shown = redacted
		}
		if m.Value == "" || shown == m.Value {
			continue
		}
		msg = replaceValue(msg, m.Value, shown)
		if len(m.Value) > 10 { // yaml cuts the value that it repeats
			msg = strings.ReplaceAll(msg, m.Value[:7]+"...", shown)
		}
	}
	return redactURL(strings.ReplaceAll(msg, "\n", " "))
}

// replaceValue puts shown where value stands in msg. A value of a few letters is only taken for itself where it is a
// word: that it is part of others says nothing of it, and without them nobody could read the message.
func replaceValue(msg, value, shown string) string {
	if len(value) > 3 || !isWord(value) {
		return strings.ReplaceAll(msg, value, shown)
	}
	return regexp.MustCompile(`\b`+value+`\b`).ReplaceAllLiteralString(msg, shown)
}

// isWord: letters, digits and underscores of ASCII.
func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// scalars are all values at and below n.
func scalars(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.ScalarNode {
		return []*yaml.Node{n}
	}
	var out []*yaml.Node
	for _, c := range n.Content {
		out = append(out, scalars(c)...)
	}
	return out
}

// isTypeError: yaml went on after it, so more may be known.
func isTypeError(err error) bool {
	var te *yamlv2.TypeError
	return errors.As(err, &te)
}

// ways are the ways out of what prometheus/config and the libraries below it say; the first that fits counts.
var ways = []struct{ says, do string }{
	{"error parsing regexp", "correct the regular expression; its syntax is RE2's"},
	{"not a valid duration", "write a number and a unit, as 15s or 1m30s"},
	{"unit \"", "write a number and a unit, as 15s or 1m30s"},
	{"in duration", "write a number and a unit, as 15s or 1m30s"},
	{"unknown Kubernetes SD role", "write one of pod, service, endpoints, endpointslice, node, ingress"},
	{"unknown relabel action", "write one of replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase"},
	{"requires 'target_label'", "add target_label"},
	{"not a valid hostname", "write host:port; what comes before and after it belongs in scheme and metrics_path"},
	{"at most one of", "keep one of them"},
	{"already set in", "remove one of the two"},
	{"scrape timeout greater", "make the timeout shorter than the interval"},
	{"job_name is empty", "give the job a job_name that no other job has"},
	{"multiple scrape configs with job name", "rename one of the jobs"},
	{"multiple remote write configs", "rename one of the two"},
	{"url for remote_write is empty", "add the receiver's url, as http://prometheus:9090/api/v1/write"},
	{"min_shards must not be greater", "write a smaller number"},
	{"role missing", "add role: pod"},
	{"empty or null", "fill the entry in, or remove it"},
	{"cannot unmarshal !!seq", "write a single value here, not a list"},
	{"cannot unmarshal !!map", "remove the keys below, or indent them as the key wants them"},
	{"into bool", "write true or false"},
	{"into uint", "write a whole number, not below 0"},
	{"into int", "write a whole number"},
	{"into []", "write a list: one line starting with - for each entry"},
	{"cannot unmarshal", "write a value of the kind that the key takes"},
}

// unknownKey is what to say of a key that there is not where it stands. The key itself is in the problem already.
func unknownKey(key string) (why, fix string) {
	switch near := nearestKey(key); near {
	case "":
		return "unknown key", "remove it: there is no such key here; the indentation may be wrong"
	case key:
		return "there is no such key here, but there is one elsewhere", "indent it as the keys of what it belongs to"
	default:
		return "unknown key", "did you mean " + near + "? else remove it"
	}
}

// wayOut is what to do about a message.
func wayOut(msg string) string {
	for _, w := range ways {
		if strings.Contains(msg, w.says) {
			return w.do
		}
	}
	return "correct it, or remove it to have the default"
}

// nearestKey is the key of a Prometheus file that is one or two letters away, empty: none.
func nearestKey(key string) string {
	best, bestDistance := "", 3 // as many letters are too many
	switch {
	case len(key) < 3:
		bestDistance = 1
	case len(key) < 6:
		bestDistance = 2
	}
	known := map[string]bool{"targets": true, "labels": true} // of static_configs, whose type does not tell
	seen := map[reflect.Type]bool{}
	for _, t := range []reflect.Type{
		reflect.TypeFor[promconfig.Config](), reflect.TypeFor[kubernetes.SDConfig](), reflect.TypeFor[file.SDConfig](),
		reflect.TypeFor[http.SDConfig](), reflect.TypeFor[targetgroup.Group](), reflect.TypeFor[Extension](),
	} {
		collectKeys(t, known, seen)
	}
	for _, name := range supportedDiscoveries {
		known[name] = true
	}
	for k := range known {
		d := distance(key, k)
		if d < bestDistance || d == bestDistance && best != "" && k < best {
			best, bestDistance = k, d
		}
	}
	return best
}

// collectKeys gathers the yaml keys of a type and of what it contains.
func collectKeys(t reflect.Type, known map[string]bool, seen map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			known[name] = true
		}
		collectKeys(f.Type, known, seen)
	}
}

// distance is the number of letters to insert, remove or change, that lead from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
