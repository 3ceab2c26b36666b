package diagnose

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// missKey is what the nearest miss of a text depends on.
type missKey struct {
	rule  *promrelabel.Config
	value string
}

// miss returns the nearest miss: what would have to differ for the rule not to leave the pod out. It is empty if
// nothing is near.
func (b *builder) miss(p *pod, step relabel.Step, found labels.Labels) string {
	rule := step.Rule
	reads := func(name string) bool {
		return slices.ContainsFunc(rule.SourceLabels,
			func(l model.LabelName) bool { return string(l) == podPrefix+name })
	}
	switch {
	case rule.Action == promrelabel.Drop && reads("container_init") && found.Get(podPrefix+"container_init") == "true":
		return fmt.Sprintf("The sidecar is an init container, as native sidecars are, and rule %d drops those. "+
			"Remove the rule: a keep on the port's name is enough.", step.Index+1)
	case rule.Action == promrelabel.Keep && len(rule.SourceLabels) > 1: // any of them may be what differs
		return b.missText(rule, step.Value(scrape.MaskParam), "the value")
	case rule.Action == promrelabel.Keep && reads("container_init") && found.Get(podPrefix+"container_init") == "true":
		return fmt.Sprintf("The sidecar is an init container, as native sidecars are, and rule %d keeps others only.",
			step.Index+1)
	case rule.Action == promrelabel.Drop && reads("phase"):
		return fmt.Sprintf("Its phase is %s.", found.Get(podPrefix+"phase"))
	case rule.Action != promrelabel.Keep || len(rule.SourceLabels) == 0:
		return ""
	case reads("container_port_name"), reads("container_port_number"):
		return b.missPort(p, rule, step)
	}
	name := string(rule.SourceLabels[0])
	if hint := missLabel(name, step.Before.Get(name), p.record); hint != "" {
		return hint
	}
	return b.missText(rule, step.Value(scrape.MaskParam), "the value")
}

// missPort is about a rule that keeps ports by name or number.
func (b *builder) missPort(p *pod, rule *promrelabel.Config, step relabel.Step) string {
	r := p.record
	name, number := step.Before.Get(podPrefix+"container_port_name"), step.Before.Get(podPrefix+"container_port_number")
	byNumber := !slices.ContainsFunc(rule.SourceLabels, func(l model.LabelName) bool {
		return string(l) == podPrefix+"container_port_name"
	})
	switch {
	case p.byLabels: // its other ports are not known
		return b.missText(rule, step.Value(scrape.MaskParam), "the port")
	case byNumber && rule.Regex.MatchString(envoy.MergedPort) && !r.Declares(15020):
		return "15020 is not a declared port of this container, and Istio never declares it: it sets the " +
			"annotation prometheus.io/port. Take the address from the annotation, or scrape 15090."
	case byNumber && r.Declares(15090):
		return fmt.Sprintf("The rule wants another number than those that %s declares: %s.", r.Proxy, portList(r))
	case byNumber && !r.Declares(15090):
		return undeclared(r)
	}
	if strings.HasSuffix(name, envoy.PortSuffix) || number == envoy.StatsPort {
		if hint := b.missText(rule, name, "the port"); hint != "" {
			return hint
		}
	}
	named := func(p discovery.ProxyPort) bool { return strings.HasSuffix(p.Name, envoy.PortSuffix) }
	if i := slices.IndexFunc(r.Ports, named); i >= 0 {
		if hint := b.missText(rule, r.Ports[i].Name, "the port"); hint != "" {
			return hint
		}
		return fmt.Sprintf("The rule wants another name than those that %s declares: %s.", r.Proxy, portList(r))
	}
	if r.Declares(15090) {
		return fmt.Sprintf("%s declares port 15090 under another name than the rule wants: %s.", r.Proxy, portList(r))
	}
	return undeclared(r)
}

// undeclared says that 15090 is not a declared port.
func undeclared(r discovery.PodRecord) string {
	declares := "it declares none"
	if len(r.Ports) > 0 {
		declares = "it declares " + portList(r)
	}
	return fmt.Sprintf("15090 is not a declared port of this container (%s: %s). Declare it in the pod as "+
		"http-envoy-prom, or take the pod by its annotations.", r.Proxy, declares)
}

// portList lists the ports of the proxy: 15021 (status), 15090 (http-envoy-prom).
func portList(r discovery.PodRecord) string {
	words := make([]string, len(r.Ports))
	for i, p := range r.Ports {
		words[i] = fmt.Sprint(p.Number)
		if p.Name != "" {
			words[i] += " (" + p.Name + ")"
		}
	}
	return strings.Join(words, ", ")
}

// missText compares a value with the expression of a keep rule, up to one small difference. subject names the value:
// "the port".
func (b *builder) missText(rule *promrelabel.Config, value, subject string) string {
	key := missKey{rule, subject + " " + value}
	hint, ok := b.misses[key]
	if !ok {
		hint = compareText(rule.Regex, value, subject)
		b.misses[key] = hint
	}
	return hint
}

func compareText(re promrelabel.Regexp, value, subject string) string {
	text := re.String()
	named := fmt.Sprintf("%s is %q", subject, shorten(value))
	if subject == "the port" {
		named = "the port is named " + shorten(value)
	}
	bare, err := regexp.Compile(text)
	ignoring, errIgnoring := regexp.Compile("(?i)^(?s:" + text + ")$")
	switch {
	case value == "" || re.MatchString(value) || err != nil || errIgnoring != nil:
		return ""
	case re.MatchString("x-" + value):
		return upperFirst(named) + ", the rule wants something before the hyphen."
	case re.MatchString("x" + value):
		return upperFirst(named) + ", the rule wants something before it."
	case re.MatchString(value + "-x"), re.MatchString(value + "x"):
		return upperFirst(named) + ", the rule wants something after it."
	case re.MatchString(strings.TrimSpace(value)):
		return upperFirst(named) + ", with spaces around it."
	case ignoring.MatchString(value):
		return upperFirst(named) + ", which differs from what the rule wants in upper and lower case only."
	case bare.MatchString(value) && !bare.MatchString(""):
		return upperFirst(named) + ", of which the expression matches a part. It has to match the whole: " +
			matchingPart(text) + "."
	}
	return ""
}

// matchingPart returns an expression that matches each text of which re matches a part: a|b becomes .*(?:a|b).*
func matchingPart(re string) string {
	if strings.Contains(re, "|") {
		re = "(?:" + re + ")"
	}
	return ".*" + re + ".*"
}

// missLabel is about a label of the pod that a keep rule reads, if its value says enough by itself.
func missLabel(name, value string, r discovery.PodRecord) string {
	for _, kind := range []string{"annotation", "label"} {
		for _, prefix := range []string{podPrefix + kind + "_", podPrefix + kind + "present_"} {
			key, ok := strings.CutPrefix(name, prefix)
			switch {
			case !ok || value != "" && value != "false":
				continue
			case value == "false":
				return fmt.Sprintf("The pod's %s %s is false.", kind, keyOf(key))
			}
			hint := fmt.Sprintf("The pod has no %s %s.", kind, keyOf(key))
			if kind == "annotation" && strings.HasPrefix(key, "prometheus_io_") && r.Proxy == envoy.ProxyContainer {
				hint += " Istio's injector sets it unless enablePrometheusMerge is off or the pod has its own."
			}
			return hint
		}
	}
	if value == "" && strings.HasPrefix(name, kubePrefix) && !isPodLabel(name) {
		return fmt.Sprintf("No pod has the label %s: its name may be mistyped.", name)
	}
	return ""
}

// keyOf returns the key of a label or annotation from the name of its meta label, which has underscores for dots and
// slashes. Where several keys come to the same name it takes the well-known one.
func keyOf(sanitized string) string {
	for _, known := range []string{"prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path",
		"prometheus.io/scheme", "sidecar.istio.io/inject", "sidecar.istio.io/status", "istio.io/rev",
		"prometheus.istio.io/merge-metrics", "app.kubernetes.io/name", "app.kubernetes.io/instance",
		"service.istio.io/canonical-name", "security.istio.io/tlsMode"} {
		if strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(known) == sanitized {
			return known
		}
	}
	return sanitized
}

// isPodLabel reports whether discovery with the role pod, attach_metadata included, can set a label.
func isPodLabel(name string) bool {
	rest := strings.TrimPrefix(name, kubePrefix)
	for _, prefix := range []string{"pod_label", "pod_annotation", "node_", "namespace_", "service", "endpoint",
		"ingress"} {
		if strings.HasPrefix(rest, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"namespace", "pod_name", "pod_ip", "pod_container_init", "pod_container_name",
		"pod_container_port_name", "pod_container_port_number", "pod_container_port_protocol", "pod_container_image",
		"pod_container_id", "pod_ready", "pod_phase", "pod_node_name", "pod_host_ip", "pod_uid", "pod_controller_kind",
		"pod_controller_name", "pod_deployment_name", "pod_job_name", "pod_cronjob_name"}, rest)
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
