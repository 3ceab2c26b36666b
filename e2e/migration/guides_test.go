package migration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	guides   = "../../docs/migration"
	writeURL = "http://prometheus-server.monitoring.svc:9090/api/v1/write" // as in the guides
)

// printed returns the fenced block with a name in a guide. The name is the second word of the fence: ```yaml option-a
func printed(t *testing.T, guide, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(guides, guide))
	if err != nil {
		t.Fatal(err)
	}
	fence := regexp.MustCompile("(?ms)^```[a-z]+ " + regexp.QuoteMeta(name) + "\n(.*?)^```$")
	found := fence.FindAllSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("%s has %d blocks named %s, want 1", guide, len(found), name)
	}
	return string(found[0][1])
}

// secretJobs returns the content of the Secret in the Operator's guide.
func secretJobs(t *testing.T) string {
	t.Helper()
	var secret struct {
		StringData map[string]string `yaml:"stringData"`
	}
	if err := yaml.Unmarshal([]byte(printed(t, "prometheus-operator.md", "secret")), &secret); err != nil {
		t.Fatal(err)
	}
	return secret.StringData["envoy.yaml"]
}

// replace replaces old, which must be in the text.
func replace(t *testing.T, text, old, with string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("the guide's text does not contain %q:\n%s", old, text)
	}
	return strings.ReplaceAll(text, old, with)
}

// replaceKey replaces a key of a YAML file by lines with the same indent. key is a regular expression for the key and
// its value.
func replaceKey(t *testing.T, text, key string, lines ...string) string {
	t.Helper()
	found := regexp.MustCompile("(?m)^( *)" + key + "$")
	if !found.MatchString(text) {
		t.Fatalf("the guide's text does not match %s:\n%s", key, text)
	}
	return found.ReplaceAllStringFunc(text, func(old string) string {
		pad := old[:len(old)-len(strings.TrimLeft(old, " "))]
		return pad + strings.Join(lines, "\n"+pad)
	})
}
