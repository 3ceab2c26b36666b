package pushdown

import (
	"net/url"
	"strings"
	"testing"
)

func TestPagesThatTakeAFilter(t *testing.T) {
	for text, want := range map[string]string{ // part of the reason; empty: it takes one
		"http://10.0.0.1:15090/stats/prometheus":                       "",
		"http://10.0.0.1:19001/stats/prometheus?histogram_buckets=all": "",
		"http://10.0.0.1:15090/metrics":                                "the path is /metrics",
		"http://10.0.0.1:15090/stats/prometheus/":                      "the path",
		"http://10.0.0.1:15020/stats/prometheus":                       "pilot-agent",
		"https://[fd00::1]:15092/stats/prometheus":                     "pilot-agent",
		"http://10.0.0.1:20100/stats/prometheus":                       "consul-dataplane",
		"http://10.0.0.1:5670/stats/prometheus":                        "kuma-dp",
		"http://10.0.0.1:15090/stats/prometheus?filter=a":              "filter is written already",
		"http://10.0.0.1:15090/stats/prometheus?x=1&usedonly":          "usedonly is written already",
		"http://10.0.0.1:15090/stats/prometheus?format=json":           "format is written already",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if why := RefuseURL(u); (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", text, why, want)
		}
	}
}

func TestParamIsReadByEnvoyAsWritten(t *testing.T) {
	const filter = `istio_|cluster.*a b+c&d=1%20#é`
	param := Param(filter)
	if strings.ContainsAny(param, "+& #") {
		t.Errorf("%s has characters that Envoy reads in another way", param)
	}
	if value, err := url.PathUnescape(strings.TrimPrefix(param, "filter=")); err != nil || value != filter {
		t.Errorf("%s is read as %q, %v", param, value, err)
	}
}
