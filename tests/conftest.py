from hypothesis import HealthCheck, settings

# A busy machine must not make a test fail: speed is measured in benchmarks/, not here.
settings.register_profile("somaseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("somaseg")
