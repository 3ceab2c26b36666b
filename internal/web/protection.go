package web

import (
	"fmt"
	"os"
	"strings"

	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
)

// Protection tells what a web configuration file asks of clients, as TLS and a password; empty: nothing. An empty path
// is no file.
func Protection(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--web.config.file: %w", err)
	}
	var cfg toolkit.Config
	if err := yaml.Unmarshal(text, &cfg); err != nil {
		return "", fmt.Errorf("--web.config.file: %s: %w", file, err)
	}
	var asks []string
	if cfg.TLSConfig.IsEnabled() {
		asks = append(asks, "TLS")
	}
	if len(cfg.Users) > 0 {
		asks = append(asks, "a password")
	}
	return strings.Join(asks, " and "), nil
}
