"""Django's settings, from the environment (`docs/configuration.md` lists every variable)."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from hub import env, floors
from hub.local import redis as local_redis

floors.require()

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where the hub lives -------------------------------------------------------------------------------------------
HUB_DATA_DIR = Path(env.text("HUB_DATA_DIR", ".hub")).resolve()
HUB_PORT = env.number("HUB_PORT", 8000, least=1, most=65535)
HUB_BIND = env.text("HUB_BIND", "127.0.0.1")
HUB_URL = env.text("HUB_URL", f"http://localhost:{HUB_PORT}").rstrip("/")
_public = urlsplit(HUB_URL)
if _public.scheme not in {"http", "https"} or not _public.hostname or _public.path:
    raise ImproperlyConfigured(
        f"HUB_URL is {HUB_URL!r}: use http://host or https://host, without a path."
    )
_host = f"[{_public.hostname}]" if ":" in _public.hostname else _public.hostname
HUB_SECURE = _public.scheme == "https"
HUB_PROXY = env.flag("HUB_PROXY", default=HUB_SECURE)  # believe X-Real-IP and X-Forwarded-Proto

SECRET_KEY = env.secret("SECRET_KEY", HUB_DATA_DIR)
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")
HUB_LAYER_KEY = env.secret("HUB_LAYER_KEY", HUB_DATA_DIR)
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", f"{_host},localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = [HUB_URL, *env.origins("HUB_ORIGINS")]
DEBUG = False

# --- Who is staff, what exists --------------------------------------------------------------------------------------
HUB_GROUPS = env.items("HUB_GROUPS")
HUB_IS_STAFF = env.text("HUB_IS_STAFF")
HUB_APPS = env.items("HUB_APPS")
HUB_DEMO = env.flag("HUB_DEMO", default=not HUB_SECURE)
HUB_DEMO_PASSWORD = env.text("HUB_DEMO_PASSWORD")
HUB_RETENTION_DAYS = env.number("HUB_RETENTION_DAYS", 30, least=1)
HUB_RETENTION_COUNT = env.number("HUB_RETENTION_COUNT", 10_000, least=1)
HUB_NOTIFICATION_DAYS = env.number("HUB_NOTIFICATION_DAYS", 180, least=1)
HUB_JOB_DAYS = env.number("HUB_JOB_DAYS", 90, least=1)
HUB_FILE_DAYS = env.number("HUB_FILE_DAYS", 7, least=1)

INSTALLED_APPS = [
    *HUB_APPS,
    "hub",
    "web",
    "consumers",
    "chat",
    "tasks",
    "notifications",
    "accounts",
    "events",
    "channels",
    "ninja",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "hub.health.answer",
    "hub.headers.guard",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.rotated_keys",
    "accounts.middleware.sign_ins",
    "web.middleware.Preferences",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "hub.urls"
ASGI_APPLICATION = "hub.asgi.application"
WSGI_APPLICATION = "hub.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "web.context.frame",
            ]
        },
    }
]

# --- Database -------------------------------------------------------------------------------------------------------
DATABASES = {
    "default": env.database(
        env.text("DATABASE_URL"), HUB_DATA_DIR, env.text("DATABASE_PASSWORD_FILE")
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: layer, broker, presence ---------------------------------------------------------------------------------
HUB_OWN_REDIS = not env.text("REDIS_URL")  # `manage.py up` starts one
REDIS_URL = env.redis(
    "REDIS_URL", local_redis.address(HUB_DATA_DIR), env.text("REDIS_PASSWORD_FILE")
)
HUB_FAST_WRITER = env.flag("HUB_FAST_WRITER", default=True)
HUB_LAYER = env.choice("HUB_LAYER", "pubsub", "pubsub", "core", "memory")
CHANNEL_LAYERS = {
    "default": {
        "pubsub": {"BACKEND": "events.layer.PubSubLayer"},
        "core": {"BACKEND": "events.layer.CoreLayer"},
        "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    }[HUB_LAYER]
}

CELERY_BROKER_URL = env.broker(REDIS_URL)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Two installations on one Redis must not take each other's tasks.
    "global_keyprefix": f"hub-{sha256(HUB_LAYER_KEY.encode()).hexdigest()[:12]}:",
    "visibility_timeout": 3600,  # seconds; longer than any task may run
    "socket_connect_timeout": 2,
    "socket_timeout": 5,
    "socket_keepalive": True,
}
CELERY_TASK_PUBLISH_RETRY = False  # the row is there already, a sweeper sends it again
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Redis hands a message out again when a connection breaks: a job that runs is not started twice for it.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 1.0  # seconds, after SIGQUIT; then tasks go back to the queue
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "prune-events": {"task": "events.tasks.prune", "schedule": 600.0},
    "prune-notifications": {"task": "notifications.tasks.prune", "schedule": 3600.0},
    "deliver-letters": {"task": "notifications.tasks.deliver_left_behind", "schedule": 10.0},
    "send-password-resets": {"task": "accounts.tasks.send_resets", "schedule": 30.0},
    "prune-jobs": {"task": "tasks.tasks.prune", "schedule": 3600.0},
    "take-back-mentions": {"task": "chat.tasks.take_back_left_behind", "schedule": 10.0},
    "prune-rooms": {"task": "chat.tasks.prune", "schedule": 600.0},
    "prune-accounts": {"task": "accounts.tasks.prune", "schedule": 3600.0},
}

# --- Sign-in, cookies, headers --------------------------------------------------------------------------------------
LOGIN_URL = "/accounts/login/"
AUTHENTICATION_BACKENDS = ["accounts.sign_in.Backend"]
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/accounts/login/"
CSRF_FAILURE_VIEW = "web.errors.csrf_failure"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
SESSION_COOKIE_NAME = "__Host-sessionid" if HUB_SECURE else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if HUB_SECURE else "csrftoken"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HUB_SECURE
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if HUB_SECURE else 0
# Whether the neighbours under this domain speak TLS too is not the hub's to promise.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HUB_PROXY else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Languages, time, static files ----------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ko", _("Korean"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = HUB_DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "hub.static_files.HashedFiles"},
}

# --- Mail -----------------------------------------------------------------------------------------------------------
SMTP_URL = env.text("SMTP_URL")
globals().update(env.mail(SMTP_URL))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("HUB_MAIL_FROM", f"hub@{_public.hostname}")

# --- Logging --------------------------------------------------------------------------------------------------------
HUB_LOG = env.choice("HUB_LOG", "json", "json", "text")
HUB_LOG_LEVEL = env.choice("HUB_LOG_LEVEL", "INFO", "DEBUG", "INFO", "WARNING", "ERROR")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "hub.logs.Json"}, "text": {"()": "hub.logs.Text"}},
    "filters": {"without_trace": {"()": "hub.logs.WithoutTrace"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": HUB_LOG}},
    "root": {"handlers": ["console"], "level": HUB_LOG_LEVEL},
    "loggers": {
        "django": {"level": "WARNING", "handlers": [], "propagate": True},
        "django.server": {"level": "WARNING", "handlers": [], "propagate": True},
        "django.security.DisallowedHost": {"filters": ["without_trace"]},
        "daphne": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
    },
}
