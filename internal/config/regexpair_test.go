package config

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestCommonStrings: whether two anchored expressions match one string, and that the example matches both.
func TestCommonStrings(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		want bool
	}{
		"prefixes that differ":           {`istio_.*`, `envoy_.*`, false},
		"a prefix and a suffix":          {`istio_.*`, `.*_total`, true},
		"one inside the other":           {`istio_requests_total`, `istio_.*`, true},
		"two names":                      {`istio_requests_total`, `istio_tcp_sent_bytes_total`, false},
		"parts of a histogram":           {`istio_.*_bucket`, `istio_.*_(sum|count)`, false},
		"alternatives":                   {`a|b|cd+`, `e|cddd`, true},
		"lengths that differ":            {`.{3}`, `.{5,}`, false},
		"lengths that meet":              {`(ab){2,3}`, `.{6}`, true},
		"no common letter":               {`[a-m]+`, `[n-z]+`, false},
		"one common letter":              {`[a-n]+`, `[n-z]+`, true},
		"case is ignored":                {`(?i)ISTIO_X`, `istio_x`, true},
		"case is ignored by a far fold":  {`(?i)k`, "\u212a", true}, // the Kelvin sign
		"negated class":                  {`[^a]`, `a`, false},
		"just above a range":             {`[^a-y]`, `[a-z]`, true},
		"anything but letters":           {`[^[:word:]]+`, `istio-x|é`, true},
		"nothing but a letter":           {`[^[:word:]]+`, `istio`, false},
		"the empty string":               {`a*`, `b*`, true},
		"begin inside":                   {`a^b`, `ab`, false},
		"end inside":                     {`(a$)?b`, `b`, true},
		"end at the end":                 {`ab$`, `.*`, true},
		"word boundary":                  {`istio\b.*`, `istio_.*`, false},
		"word boundary before a sign":    {`istio\b.*`, `istio:.*`, true},
		"no word boundary":               {`istio\B.*`, `istio_.*`, true},
		"lines":                          {`(?m)a$\n^b`, `(?s)a.b`, true},
		"lazy and greedy are the same":   {`a.*?b`, `ab|ac`, true},
		"a counted repeat beyond others": {`a{1000}`, `a{999}`, false},
		"only total":                     {`istio_.*_total`, inner(notATotal), false},
		"total and more":                 {`istio_.*`, inner(notATotal), true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := "^(?s:"+c.a+")$", "^(?s:"+c.b+")$"
			for range 2 {
				example, got := haveCommonString(a, b)
				if (got == common) != c.want || got == undecided {
					t.Errorf("%s and %s: %v, want %v", a, b, got, c.want)
				}
				if got == common &&
					!(regexp.MustCompile(a).MatchString(example) && regexp.MustCompile(b).MatchString(example)) {
					t.Errorf("%s and %s: %q matches not both", a, b, example)
				}
				a, b = b, a
			}
		})
	}
}

// TestNotATotal: the expression matches exactly the names that do not end in _total.
func TestNotATotal(t *testing.T) {
	re := regexp.MustCompile(notATotal)
	for _, name := range []string{"", "a", "total", "_total", "a_total", "atotal", "a_totals", "a_totl", "x_tota",
		"_total_", "a_total_b", "a\n_total", "a_total\n"} {
		if got, want := re.MatchString(name), !strings.HasSuffix(name, "_total"); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

// TestCommonStringsAreBounded: of expressions that would take too long, nothing is said.
func TestCommonStringsAreBounded(t *testing.T) {
	large := "^(?s:istio_" + strings.Repeat(".{1000}", 5) + "x)$" // as in TestChecksOfAggregates
	for a, b := range map[string]string{"^(.*a.{900})$": "^(.*b.{901}c)$", large: wholeNames} {
		if _, got := haveCommonString(a, b); got != undecided {
			t.Errorf("%s and %s: %v; want undecided, or the test needs larger expressions", a, b, got)
		}
	}
}

// FuzzCommonStrings: if a string matches both expressions, a common string is found, and the found one matches both.
func FuzzCommonStrings(f *testing.F) {
	for _, seed := range [][3]string{{"istio_.*", ".*_total", "istio_a_total"}, {"a|b", "b|c", "b"},
		{`a\b.*`, "a:.*", "a:x"}, {"(?i)k", "[^a-z]", "\u212a"}, {"(?m)a$.b", "(?s)a\nb", "a\nb"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, a, b, text string) {
		if len(a)+len(b) > 40 || strings.ContainsAny(a+b, "{") { // a repeat may be beyond the bound
			return
		}
		a, b = "^(?s:"+a+")$", "^(?s:"+b+")$"
		x, errA := regexp.Compile(a)
		y, errB := regexp.Compile(b)
		if errA != nil || errB != nil {
			return
		}
		example, found := haveCommonString(a, b)
		if found == common && !(x.MatchString(example) && y.MatchString(example)) {
			t.Errorf("%s and %s: %q does not match both", a, b, example)
		}
		if found == disjoint && x.MatchString(text) && y.MatchString(text) {
			t.Errorf("%s and %s: %q matches both", a, b, text)
		}
	})
}

// inner returns an expression without its anchors.
func inner(anchored string) string {
	return strings.TrimSuffix(strings.TrimPrefix(anchored, "^(?s:"), ")$")
}

// TestCommonStringsOfLongLists: the bound is far beyond expressions that list many names.
func TestCommonStringsOfLongLists(t *testing.T) {
	names := func(prefix string) string {
		var all []string
		for i := range 200 {
			all = append(all, fmt.Sprintf("%s_%c%c_stat_%d", prefix, 'a'+i%26, 'a'+i%7, i))
		}
		return strings.Join(all, "|")
	}
	a, b := "^(?s:"+names("envoy_cluster")+"|x_last)$", "^(?s:"+names("envoy_http")+"|.*_total|x_last)$"
	if example, found := haveCommonString(a, b); found != common || example != "x_last" {
		t.Errorf("found %q, %v; want x_last", example, found)
	}
}
