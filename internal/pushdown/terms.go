package pushdown

import (
	"fmt"
	"slices"
	"strings"
)

const (
	envoyPrefix = "envoy_" // of Envoy's own metrics; not in the raw name
	istioPrefix = "istio_" // of Istio's metrics, whose names are in the raw name as they are
)

// gap matches what Envoy may have cut out of the raw name between two words. That may be any text: between rq and xx of
// cluster.reviews.upstream_rq_2xx it is _2, which does not end with a separator.
const gap = ".*"

// Bounds of a filter.
const (
	maxTerms  = 64      // with 64 alternatives Envoy takes 0.3 µs a stat to match it, with 1 it takes 0.2
	maxBytes  = 4 << 10 // Envoy takes a request line of 60 KiB
	leastText = 3       // characters of a term: nearly every name has a c in it
)

// term is an alternative of a filter. It finds the raw names of the metrics whose names begin with its words.
type term struct {
	istio bool
	words []string // the last one may be the beginning of a word
}

// String returns the expression: istio_tcp_sent for the words tcp and sent of Istio's, and cluster.*upstream.*rq for
// those of others.
func (t term) String() string {
	if t.istio {
		return istioPrefix + strings.Join(t.words, "_")
	}
	return strings.Join(t.words, gap)
}

// cut returns the term with the first n words only. It finds more.
func (t term) cut(n int) term { return term{t.istio, t.words[:min(n, len(t.words))]} }

// terms are the alternatives of a filter, sorted by their expressions.
type terms []term

// String returns the filter.
func (ts terms) String() string {
	all := make([]string, len(ts))
	for i, t := range ts {
		all[i] = t.String()
	}
	filter := strings.Join(all, "|")
	if strings.Contains(filter, gap) {
		filter = "(?s)" + filter // a name may have a line break in it
	}
	return filter
}

// weakest returns the length of the shortest term. The shorter a term, the more it finds.
func (ts terms) weakest() int {
	least := maxBytes
	for _, t := range ts {
		least = min(least, len(t.String()))
	}
	return least
}

// termsOf returns the terms of a rule that keeps, or why there are none.
func termsOf(r nameRule) (all terms, refusal string) {
	longest := 0
	for _, p := range r.names {
		if p.text == "" && p.rest == nothing {
			continue // the empty name, which no series has
		}
		t, refusal := termOf(p)
		if refusal != "" {
			return nil, fmt.Sprintf("%v, keeps names %s", r, refusal)
		}
		all, longest = append(all, t), max(longest, len(t.words))
	}
	if len(all) == 0 {
		return nil, fmt.Sprintf("%v, keeps nothing", r)
	}
	for n := longest; n > 0; n-- {
		short := all.cut(n)
		if len(short) <= maxTerms && len(short.String()) <= maxBytes && short.weakest() >= leastText {
			return short, ""
		}
	}
	return nil, fmt.Sprintf("%v, keeps names with more than %d different beginnings", r, maxTerms)
}

// cut returns the terms with n words each, without those whose names another one finds, too.
func (ts terms) cut(n int) (all terms) {
	for _, t := range ts {
		all = append(all, t.cut(n))
	}
	slices.SortFunc(all, func(a, b term) int { return strings.Compare(a.String(), b.String()) })
	n = 0
	for _, t := range all {
		if n == 0 || !strings.HasPrefix(t.String(), all[n-1].String()) {
			all[n] = t
			n++
		}
	}
	return all[:n]
}

// termOf returns the term of a prefix, or why there is none: the end of a sentence about the names that the rule keeps.
func termOf(p prefix) (t term, refusal string) {
	if text, ok := strings.CutPrefix(p.text, istioPrefix); ok {
		return term{istio: true, words: words(text, p.rest)}, ""
	}
	text, isEnvoys := strings.CutPrefix(p.text, envoyPrefix)
	switch {
	case p.text == envoyPrefix:
		return t, "which may begin with envoy_ and go on with anything"
	case p.text == "":
		return t, "which may begin with anything (or in upper and lower case)"
	case p.rest != nothing && !isEnvoys && !strings.Contains(p.text, "_"):
		return t, fmt.Sprintf("which may begin with %s and go on with anything", p.text)
	}
	t.words = slices.DeleteFunc(words(text, p.rest), func(w string) bool { return w == "" })
	if len(strings.Join(t.words, "")) < leastText {
		return t, fmt.Sprintf("which may begin with %s: too many names of stats have that in them", p.text)
	}
	return t, ""
}

// suffixes are what a histogram adds to its name.
var suffixes = []string{"bucket", "sum", "count"}

// words returns the words of a name that are in the raw name, too. A histogram
//
//	istio_request_bytes_bucket, istio_request_bytes_sum, istio_request_bytes_count
//
// is one stat, and its raw name has no such suffix. So the last word is left out if it may be a suffix: of a name that
// begins with istio_request_bytes_c it may be count.
func words(text string, after rest) []string {
	all := strings.Split(text, "_")
	last := all[len(all)-1]
	isSuffix := slices.ContainsFunc(suffixes, func(suffix string) bool {
		return last == suffix || after != nothing && strings.HasPrefix(suffix, last)
	})
	if isSuffix && len(all) > 1 {
		all = all[:len(all)-1]
	}
	return all
}
