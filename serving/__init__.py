"""What both services need at their edge, once: settings, logs, keys, routes, metrics, gunicorn, the sandbox.

It knows neither service. The services share no models, state or business rules; they speak over HTTP only.
"""
