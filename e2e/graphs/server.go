package graphs

import (
	"encoding/json"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// Page is the path of the dashboards: the last five minutes, a point every five seconds, asked again every ten.
const Page = "/vmui/#/dashboards?g0.range_input=5m&g0.relative_time=last_5_minutes&g0.step_input=5s&refresh=10s"

// Config says what Handler serves.
type Config struct {
	UI         string   // folder of vmui's files, as e2e/tools/vmui.sh prints it
	Folders    []string // of Grafana dashboards
	Prometheus *url.URL // base of its API
	Querier    Querier  // asks the same Prometheus
}

// Handler serves vmui with the dashboards. The paths are those that vmui derives from its own address: under /vmui it
// looks for its server under /prometheus.
func Handler(cfg Config) http.Handler {
	files := http.FileServer(http.Dir(cfg.UI))
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(cfg.Prometheus) },
		// The default would log each request that the browser gives up.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler(Page, http.StatusFound))
	mux.Handle("GET /vmui/", http.StripPrefix("/vmui", files))
	mux.Handle("GET /prometheus/vmui/config.json", http.StripPrefix("/prometheus/vmui", files))
	mux.HandleFunc("GET /prometheus/vmui/timezone", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"timezone": "Local"})
	})
	mux.HandleFunc("GET /prometheus/vmui/custom-dashboards", func(w http.ResponseWriter, r *http.Request) {
		dashboards, err := Dashboards(r.Context(), cfg.Querier, cfg.Folders)
		if err != nil {
			answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()}) // vmui shows it
			return
		}
		answer(w, http.StatusOK, map[string]any{"dashboardsSettings": dashboards})
	})
	mux.Handle("/prometheus/api/v1/", http.StripPrefix("/prometheus", proxy))
	return mux
}

// answer writes JSON. It ignores errors: the browser closed the connection.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
