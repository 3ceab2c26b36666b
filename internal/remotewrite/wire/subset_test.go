package wire

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// merged is a message with the series a (samples at 1, 2, 3, each with an exemplar), b (at 2) and c (at 1, 3).
func merged(t *testing.T) Content {
	t.Helper()
	row := func(name string, at int64) testRow {
		return testRow{labels: []string{"__name__", name}, value: float64(at * 10), at: at}
	}
	traced := func(at int64) testRow {
		r := row("a", at)
		r.exemplar, r.help = fmt.Sprint("x", at), "help"
		return r
	}
	out, err := (*Pool)(nil).Merge([]Message{
		messageOfRows([]testRow{traced(1), row("c", 1)}, 0), messageOfRows([]testRow{traced(2), row("b", 2)}, 0),
		messageOfRows([]testRow{traced(3), row("c", 3)}, 0)}, Limits{})
	if err != nil || len(out) != 1 {
		t.Fatal(len(out), err)
	}
	c, err := Parse(out[0])
	if err != nil {
		t.Fatal(err)
	}
	if c.Len() != 3 || c.Samples() != 6 {
		t.Fatalf("%d series, %d samples; want 3, 6", c.Len(), c.Samples())
	}
	return c
}

// textOf describes messages, and checks what they say of themselves.
func textOf(t *testing.T, ms []Message, err error) (out []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		r := readV2(t, m)
		n := 0
		for _, s := range r.series {
			n += len(s.samples)
		}
		if n != m.Samples || n > 0 && (m.Oldest != r.oldest || m.Newest != r.newest) || r.unused > 0 {
			t.Errorf("%d samples from %d to %d, says %d from %d to %d; %d unused symbols", n, r.oldest, r.newest,
				m.Samples, m.Oldest, m.Newest, r.unused)
		}
		out = append(out, strings.Join(r.texts(), "; "))
	}
	return out
}

func TestSubsets(t *testing.T) {
	c := merged(t)
	const a = "a: 10@1 20@2 30@3 exemplar x1@1 exemplar x2@2 exemplar x3@3 help help"
	younger, err := c.Subset(func(_ int, at int64) bool { return at > 2 })
	none, _ := c.Subset(func(int, int64) bool { return false })
	series, _ := c.Split(3)
	single, e := Parse(series[0])
	if e != nil {
		t.Fatal(e)
	}
	times, _ := c.SplitTimes()
	halves, _ := single.SplitSeries(2)
	each, _ := single.SplitSeries(9)
	for name, tc := range map[string]struct {
		got  []Message
		want []string
	}{
		"younger":   {[]Message{younger, none}, []string{"a: 30@3 exemplar x3@3 help help; c: 30@3", ""}},
		"by series": {series, []string{a, "c: 10@1 30@3", "b: 20@2"}},
		"by time": {times, []string{"a: 10@1 exemplar x1@1 help help; c: 10@1",
			"a: 20@2 exemplar x2@2 help help; b: 20@2",
			"a: 30@3 exemplar x3@3 help help; c: 30@3"}},
		"two halves": {halves, []string{"a: 10@1 exemplar x1@1 help help",
			"a: 20@2 30@3 exemplar x2@2 exemplar x3@3 help help"}},
		"each sample": {each, []string{"a: 10@1 exemplar x1@1 help help", "a: 20@2 exemplar x2@2 help help",
			"a: 30@3 exemplar x3@3 help help"}},
	} {
		if got := textOf(t, tc.got, err); !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
		}
	}
}

// TestSplitTimesOfManyTimes: series with timestamps of their own do not make a message for each.
func TestSplitTimesOfManyTimes(t *testing.T) {
	var group []Message
	for k := range int64(2) {
		var rows []testRow
		for i := range int64(20) {
			rows = append(rows, testRow{labels: []string{"n", fmt.Sprint(i)}, value: 1, at: 1 + 100*k + i})
		}
		group = append(group, messageOfRows(rows, 0))
	}
	out, err := (*Pool)(nil).Merge(group, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(out[0])
	if err != nil {
		t.Fatal(err)
	}
	parts, err := c.SplitTimes()
	if err != nil || len(parts) != 2 || parts[0].Newest != 20 || parts[1].Oldest != 101 {
		t.Errorf("%d parts, %v: %+v; want the older samples of 20 series and the newer ones", len(parts), err, parts)
	}
}

func TestDescribeSamples(t *testing.T) {
	c := merged(t)
	const want = `{__name__="a",} 10 @ 1 20 @ 2 30 @ 3` + "\n" + `{__name__="c",} 10 @ 1 30 @ 3` + "\n" +
		`{__name__="b",} 20 @ 2` + "\n"
	if got := string(c.Describe(1000)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
