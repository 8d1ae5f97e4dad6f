{{- define "gvList" -}}
# API reference

Generated from the types in `api/v1alpha1`; do not edit. Every kind is namespaced and belongs to the category `cardea`.
{{ range . }}
## {{ .GroupVersionString }}

Kinds:{{ range .SortedKinds }} [{{ . }}](#{{ lower . }}){{ end }}
{{ $gv := . }}
{{- range .SortedTypes }}
{{- template "type" . }}
{{- end }}
{{- end }}
{{- end -}}
