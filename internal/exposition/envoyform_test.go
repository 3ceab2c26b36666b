package exposition

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// envoyTexts returns texts before a value: in Envoy's form, and others that are nearly so.
func envoyTexts() (envoys, others []string) {
	return []string{
			"a", "a{}", `a{x="1"}`, `a{x="1",y="2",instance=""}`, `a:b{y="1",x="2"}`, `h_bucket{le="1"}`,
			`h_bucket{x="1",le="+Inf"}`,
			`h_bucket{le="0.0050000000000000001040834085586084"}`, `h{le="a"}`, `s{quantile="0.50"}`,
			`s{quantile="1",le="1"}`, `h{le="-0"}`,
			`h{le="1e400"}`, `h{le=""}`, `h{le="0x1p-2"}`, `h{le="1_0"}`, `s{quantile="NaN"}`, `a{__name__x="ä"}`,
			`_{_="{a=b,c} #"}`,
			`istio_requests_total{reporter="destination",source_workload="a",response_flags="-",` +
				`destination_service="b.c.svc.cluster.local"}`,
		}, []string{
			"", "{", "}", "a{", "a}", "a{}{}", "a{x}", "a{x=}", `a{x="}`, `a{x="1"`, `a{x="1",}`, `a{x="1"}}`,
			`a{x="1"} `, `a {x="1"}`, `a{ x="1"}`,
			`a{x ="1"}`, `a{x="\\"}`, "a{x=\"\n\"}", "a{x=\"\x00\"}", "a{x=\"\xff\"}", `a{x="1",x="2"}`,
			`a{__name__="b"}`, `a{"x"="1"}`, `{"a",x="1"}`,
			`{a="b"}`, `a{x:y="1"}`, `1a`, `a b`, ` a`, `a{x="1"}2`, `a{x="1"y="2"}`, `a{x="1",,y="2"}`,
			"a{x=\"1\"}\x00", "ä", `a{é="1"}`, `a 1`, `a{x="1"} 1`,
		}
}

func TestEnvoyParserTakesEnvoysFormOnly(t *testing.T) {
	var q envoyParser
	envoys, others := envoyTexts()
	for _, text := range envoys {
		if _, ok := q.parse([]byte(text), ""); !ok {
			t.Errorf("not taken: %q", text)
		}
	}
	for _, text := range others {
		if l, ok := q.parse([]byte(text), ""); ok {
			t.Errorf("%q taken for %v", text, l)
		}
	}
}

// FuzzEnvoyParser compares it with textparse: a text that envoyParser takes is the text of a sample with the same
// labels.
func FuzzEnvoyParser(f *testing.F) {
	envoys, others := envoyTexts()
	for i, text := range append(envoys, others...) {
		f.Add([]byte(text), []byte(envoys[i%len(envoys)]))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var q envoyParser
		for _, text := range [][]byte{first, second, first} { // what it keeps of one line must not change the next
			for _, typ := range []string{"", "counter", "gauge", "histogram", "summary", "untyped"} {
				mtype := model.MetricType(typ)
				if typ == "untyped" {
					mtype = model.MetricTypeUnknown
				}
				got, ok := q.parse(text, mtype)
				if !ok {
					continue
				}
				if want := parsedAlone(t, text, typ); !labels.Equal(got, want) {
					t.Fatalf("%q under %q: got %v want %v", text, typ, got, want)
				}
			}
		}
	})
}

// parsedAlone reads one line with textparse.
func parsedAlone(t *testing.T, text []byte, typ string) (l labels.Labels) {
	t.Helper()
	var page bytes.Buffer
	if typ != "" {
		page.WriteString("# TYPE t " + typ + "\n")
	}
	page.Write(text)
	page.WriteString(" 1\n")
	p := textparse.NewPromParser(page.Bytes(), nil, false)
	entry, err := p.Next()
	if typ != "" && err == nil {
		entry, err = p.Next()
	}
	if err != nil || entry != textparse.EntrySeries {
		t.Fatalf("%q under %q: textparse says %v, %v", text, typ, entry, err)
	}
	if series, own, v := p.Series(); !bytes.Equal(series, text) || own != nil || v != 1 {
		t.Fatalf("%q is to textparse %q, %v, %v", text, series, own, v)
	}
	p.Labels(&l)
	if _, err := p.Next(); err == nil {
		t.Fatalf("%q is more than a line", text)
	}
	return l
}

func TestValueOfLineNeedsAWholeValue(t *testing.T) {
	for _, text := range []string{"", "5", "5 6\n", "5\t\n", " 5\n", "\n", "x\n", "1234567890123456", "1.5"} {
		if v, n := valueOfLine([]byte(text)); n != 0 {
			t.Errorf("%q: %v of %d bytes", text, v, n)
		}
	}
}

// FuzzEnvoyType compares parseEnvoyType with textparse.
func FuzzEnvoyType(f *testing.F) {
	taken := []string{"# TYPE a counter", "# TYPE a:b_9 gauge", "# TYPE h histogram"}
	for _, line := range append(taken, "# TYPE a untyped", "# TYPE a summary", "# TYPE 9 counter", "# TYPE a  counter",
		"# TYPE  a counter", "#TYPE a counter", "# TYPE a counter ", "# TYPE a counter\x00", "# TYPE a.b counter",
		"# TYPE \"a\" counter", "# TYPE a", "# TYPE é gauge", "# TYPE a stateset", "# HELP a counter", "# TYPE ", "#") {
		f.Add([]byte(line))
	}
	for _, line := range taken {
		if _, _, ok := parseEnvoyType([]byte(line)); !ok {
			f.Errorf("not taken: %q", line)
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		name, typ, ok := parseEnvoyType(line)
		if !ok {
			return
		}
		p := textparse.NewPromParser(append(bytes.Clone(line), "\na 1\n"...), nil, false)
		entry, err := p.Next()
		if err != nil || entry != textparse.EntryType {
			t.Fatalf("%q: entry %v, error %v", line, entry, err)
		}
		if wantName, wantType := p.Type(); !bytes.Equal(name, wantName) || typ != wantType {
			t.Fatalf("%q: %q %q, want %q %q", line, name, typ, wantName, wantType)
		}
		if entry, err = p.Next(); err != nil || entry != textparse.EntrySeries {
			t.Fatalf("%q: then entry %v, error %v", line, entry, err)
		}
	})
}

// FuzzValue compares parseValue with textparse: both take the same values.
func FuzzValue(f *testing.F) {
	for _, v := range []string{
		"0", "1", "17", "999999999999999", "1000000000000000", "9007199254740993", "18446744073709551615",
		"18446744073709551616", "00", "-0", "+1", "-5",
		"309.89999999999997726263245567679", "0.10000000000000000555111512312578", "nan", "NaN", "-nan", "+Inf", "inf",
		"-infinity", "1e3", "1E-400", "1e999", "0x10",
		"0x1p-2", "1_0", "", ".", ".5", "5.", "1\r", "1\x00", "١",
	} {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, number []byte) {
		if len(number) == 0 || bytes.ContainsAny(number, " \t\n{") {
			return // not what cutValue cuts, or no value
		}
		p := textparse.NewPromParser(append([]byte("a "), number...), nil, false)
		_, err := p.Next()
		got, ok := parseValue(number)
		v, n := valueOfLine(append(bytes.Clone(number), "\nb 1"...))
		if n != 0 != ok || ok && (n != len(number)+1 || math.Float64bits(v) != math.Float64bits(got)) {
			t.Fatalf("%q: valueOfLine %v of %d bytes, parseValue %v %v", number, v, n, got, ok)
		}
		if ok != (err == nil) {
			t.Fatalf("%q: taken %v, textparse says %v", number, ok, err)
		}
		if !ok {
			return
		}
		if _, _, want := p.Series(); math.Float64bits(canonical(got)) != math.Float64bits(want) {
			t.Fatalf("%q: got %v want %v", number, got, want)
		}
	})
}

func TestCutValue(t *testing.T) {
	for line, want := range map[string][2]string{
		"a 1": {"a", "1"}, "a{x=\"b c\"} 1": {"a{x=\"b c\"}", "1"}, "a \t 1": {"a", "1"}, "a 1 2": {"a 1", "2"},
		"a": {"", "a"}, " a": {"", "a"}, "a ": {"a", ""}, "": {"", ""},
	} {
		text, number := cutValue([]byte(line))
		if string(text) != want[0] || string(number) != want[1] {
			t.Errorf("%q: %q %q, want %q", strings.TrimSpace(line), text, number, want)
		}
	}
}
