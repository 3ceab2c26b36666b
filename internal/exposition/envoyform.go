package exposition

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// envoyParser reads the labels of a new line in the form in which Envoy prints nearly all lines:
//
//	istio_requests_total{reporter="destination",response_code="200"}
//
// without blanks, escapes or quoted names. It refuses everything else, which is for textparse. Its labels are those
// that textparse would return, at a sixth of the cost. They are valid until the next parse.
//
// Cost: the labels of one line.
type envoyParser struct {
	parsed []labels.Label
	sorted []labels.Label
	order  []int    // sorted[i] is parsed[order[i]]
	names  []string // for which order holds, in the order printed; copies
	build  labels.ScratchBuilder
	result labels.Labels
}

// bytes returns how much memory is kept for the next line: two labels of 32 bytes, an order and a name for each label.
func (q *envoyParser) bytes() int {
	return 32*(cap(q.parsed)+cap(q.sorted)) + 8*cap(q.order) + 16*cap(q.names)
}

// parse reads the text before a value, under the TYPE in force. The labels alias text.
func (q *envoyParser) parse(text []byte, typ model.MetricType) (_ labels.Labels, ok bool) {
	s := view(text)
	q.parsed = q.parsed[:0]
	n := nameLen(s, true)
	if n == 0 {
		return labels.EmptyLabels(), false
	}
	q.parsed = append(q.parsed, labels.Label{Name: model.MetricNameLabel, Value: s[:n]})
	if s = s[n:]; s != "" && !q.parseBraces(s, typ) || !utf8.Valid(text) {
		return labels.EmptyLabels(), false
	}
	if !q.sort() {
		return labels.EmptyLabels(), false
	}
	q.build.Reset()
	for _, l := range q.sorted {
		q.build.Add(l.Name, l.Value)
	}
	q.build.Overwrite(&q.result)
	return q.result, true
}

// parseBraces reads {label="value",…}, which must be all of s.
func (q *envoyParser) parseBraces(s string, typ model.MetricType) bool {
	if s[0] != '{' || s == "{}" {
		return s == "{}"
	}
	for more := true; more; {
		s = s[1:] // the brace, or a comma
		n := nameLen(s, false)
		if n == 0 || !strings.HasPrefix(s[n:], `="`) {
			return false
		}
		l := labels.Label{Name: s[:n]}
		s = s[n+2:]
		end := strings.IndexByte(s, '"')
		if end < 0 || strings.ContainsAny(s[:end], "\\\n\x00") {
			return false
		}
		l.Value, s = s[:end], s[end+1:]
		if s == "" {
			return false
		}
		if bound := boundLabel(typ); l.Name == bound && bound != "" {
			l.Value = normalBound(l.Value)
		}
		q.parsed = append(q.parsed, l)
		more = s[0] == ','
	}
	return s == "}"
}

// nameLen returns how many bytes at the beginning of s are the name of a label or, if metric is true, of a metric.
func nameLen(s string, metric bool) int {
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || metric && c == ':'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

// boundLabel returns the label whose value is a number under a TYPE, or "".
func boundLabel(t model.MetricType) string {
	switch t {
	case model.MetricTypeHistogram:
		return model.BucketLabel
	case model.MetricTypeSummary:
		return model.QuantileLabel
	default:
		return ""
	}
}

// normalBound prints a bound as textparse does: 0.50 becomes 0.5, and 1 becomes 1.0.
func normalBound(v string) string {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return v
	}
	return labels.FormatOpenMetricsFloat(f)
}

// sort fills sorted, and returns false if a name occurs twice. Most lines have the same names as the line before, for
// which the order is known.
func (q *envoyParser) sort() bool {
	if !q.sameNames() {
		q.names, q.order = q.names[:0], q.order[:0]
		for i, l := range q.parsed {
			q.names, q.order = append(q.names, strings.Clone(l.Name)), append(q.order, i)
		}
		slices.SortFunc(q.order, func(a, b int) int { return strings.Compare(q.names[a], q.names[b]) })
		for i := 1; i < len(q.order); i++ {
			if q.names[q.order[i]] == q.names[q.order[i-1]] {
				q.names = q.names[:0] // the next line is sorted again
				return false
			}
		}
	}
	q.sorted = q.sorted[:0]
	for _, at := range q.order {
		q.sorted = append(q.sorted, q.parsed[at])
	}
	return true
}

func (q *envoyParser) sameNames() bool {
	if len(q.names) != len(q.parsed) {
		return false
	}
	for i := range q.parsed {
		if q.parsed[i].Name != q.names[i] {
			return false
		}
	}
	return true
}
