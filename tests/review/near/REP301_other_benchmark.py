"""The word means many things."""


class Settings:
    benchmark = False


settings = Settings()
settings.benchmark = True


def flags(benchmark=True):
    return {"benchmark": benchmark}


print(flags(benchmark=True), settings.benchmark)
