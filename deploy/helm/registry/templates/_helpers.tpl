{{- define "registry.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "registry.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "registry.labels" -}}
{{ include "registry.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "registry.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "registry.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "registry.secretName" -}}
{{- default (include "registry.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{- define "registry.claimName" -}}
{{- default (include "registry.fullname" .) .Values.storage.filesystem.existingClaim -}}
{{- end -}}

{{- define "registry.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Checks of errors that would otherwise appear late. */}}
{{- define "registry.check" -}}
{{- if eq .Values.storage.type "filesystem" -}}
{{- if and (ne .Values.storage.filesystem.accessMode "ReadWriteMany") (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) -}}
{{- fail "storage.filesystem.accessMode: several replicas need a volume with ReadWriteMany" -}}
{{- end -}}
{{- else -}}
{{- $store := index .Values.storage .Values.storage.type -}}
{{- $_ := required (printf "storage.%s.bucket is missing" .Values.storage.type) $store.bucket -}}
{{- $_ := required (printf "storage.%s.region is missing" .Values.storage.type) $store.region -}}
{{- end -}}
{{- if and .Values.redis.enabled (not .Values.redis.addrs) -}}
{{- fail "redis.addrs is missing; it is required by redis.enabled" -}}
{{- end -}}
{{- if and .Values.metrics.enabled (eq (int .Values.metrics.port) 5000) -}}
{{- fail "metrics.port: 5000 is the port of the registry itself" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}

{{/* The configuration file as a mapping, without secrets, which are set as variables. */}}
{{- define "registry.config" -}}
{{- $type := .Values.storage.type -}}
{{- $driver := dict -}}
{{- if eq $type "filesystem" -}}
{{- $_ := set $driver "rootdirectory" "/var/lib/registry" -}}
{{- else -}}
{{- range $key, $value := index .Values.storage $type -}}
{{- if $value -}}{{- $_ := set $driver $key $value -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $storage := dict $type $driver "delete" (dict "enabled" true) "cache" (dict "blobdescriptor" (ternary "redis" "inmemory" .Values.redis.enabled)) -}}
{{- $http := dict "addr" ":5000" "workers" (int .Values.workers) "draintimeout" (printf "%ds" (int .Values.drainSeconds)) "headers" (dict "X-Content-Type-Options" (list "nosniff")) -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $http "tls" (dict "certificate" "/etc/registry/tls/tls.crt" "key" "/etc/registry/tls/tls.key") -}}
{{- end -}}
{{- if .Values.trustedProxies -}}
{{- $_ := set $http "trustedproxies" .Values.trustedProxies -}}
{{- end -}}
{{- if .Values.metrics.enabled -}}
{{- $_ := set $http "debug" (dict "addr" (printf ":%d" (int .Values.metrics.port)) "prometheus" (dict "enabled" true)) -}}
{{- end -}}
{{- $config := dict "version" "0.1" "log" (dict "formatter" "json" "fields" (dict "service" "registry")) "audit" (dict "stdout" true) "storage" $storage "http" $http "catalog" (dict "backend" .Values.catalog.backend) -}}
{{- if .Values.redis.enabled -}}
{{- $_ := set $config "redis" (dict "addrs" .Values.redis.addrs) -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end -}}
